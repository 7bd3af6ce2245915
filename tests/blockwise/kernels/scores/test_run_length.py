"""The expected run length is that of a loop over skeletons, at any threshold."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.scores.run_length import Paths, run_length, run_lengths
from blockwise.kernels.tables import relabel
from tests.blockwise.kernels.graph.test_edges import random_edges
from tests.support.affinities import ALL_MERGES


def slow_run_length(segment, skeleton, edges, lengths):
    """Runs in dictionaries, edge after edge."""
    segment, skeleton = segment.tolist(), skeleton.tolist()
    skeletons_in = {}
    for one, other in zip(segment, skeleton, strict=True):
        skeletons_in.setdefault(one, set()).add(other)
    runs, whole, counts = {}, {}, {"split": 0, "merged": 0, "omitted": 0}
    for (one, other), length in zip(edges.tolist(), lengths.tolist(), strict=True):
        on = skeleton[one]
        whole[on] = whole.get(on, 0) + length
        if 0 in (segment[one], segment[other]):
            counts["omitted"] += 1
        elif segment[one] != segment[other]:
            counts["split"] += 1
        elif len(skeletons_in[segment[one]]) > 1:
            counts["merged"] += 1
        else:
            run = (on, segment[one])
            runs[run] = runs.get(run, 0) + length
    total = sum(whole.values())
    found = sum(length**2 / total for length in runs.values())
    perfect = sum(length / total * length for length in whole.values())
    return found, found / perfect, counts["split"], counts["merged"], counts["omitted"]


def random_skeletons(seed, nodes=200, count=9):
    """The skeleton of each node, edges that make trees of them, and lengths."""
    rng = np.random.default_rng(seed)
    skeleton = rng.integers(0, count, nodes)
    edges = []
    for number in range(count):
        members = np.flatnonzero(skeleton == number)
        edges += [(members[rng.integers(0, at)], members[at]) for at in range(1, len(members))]
    return skeleton, np.array(edges), rng.random(len(edges)) * 100


@pytest.mark.parametrize("levels", [4, 256])
def test_run_lengths_are_those_of_a_loop_at_each_threshold(levels):
    """At any thresholds, in any order, background nodes and unknown fragments included."""
    kinds = set()
    for seed in range(4):
        dendrogram = agglomerate(random_edges(seed, nodes=150, rows=300, levels=levels), 255, ALL_MERGES)
        skeleton, edges, lengths = random_skeletons(seed)
        # A fragment's nodes are mostly of one skeleton, or nothing would be correct.
        own = np.array_split(np.r_[dendrogram.fragment, np.uint64(0), np.uint64(2**50)], 9)
        rng = np.random.default_rng(seed)
        fragment = np.array([rng.choice(own[at if rng.random() < 0.98 else 3]) for at in skeleton])
        thresholds = [0.5, 0.99, 0.0, 1.0, *dendrogram.score[:9].tolist(), 0.5]
        found = run_lengths(fragment, Paths(skeleton, edges, lengths), dendrogram, thresholds)
        for one, threshold in zip(found, thresholds, strict=True):
            segment = relabel(fragment, dendrogram.fragment, cut(dendrogram, threshold))
            assert astuple(one) == pytest.approx(slow_run_length(segment, skeleton, edges, lengths))
            kinds |= {name for name, value in vars(one).items() if value}
    assert kinds == {"erl", "erl_fraction", "split_edges", "merged_edges", "omitted_edges"}


def chain(*segments):
    """Nodes in a row, one after the other along one skeleton."""
    count = len(segments)
    return np.array(segments, np.uint64), np.zeros(count, int), np.array([(i, i + 1) for i in range(count - 1)])


def test_a_split_halves_the_run():
    """A skeleton of length 5 in two pieces of 2: a point is on either with 2/5, and runs 2."""
    segment, skeleton, edges = chain(7, 7, 7, 8, 8, 8)
    assert astuple(run_length(segment, Paths(skeleton, edges, np.ones(5)))) == (8 / 5, 8 / 25, 1, 0, 0)
    assert run_length(segment * 0 + np.uint64(7), Paths(skeleton, edges, np.ones(5))).erl == 5


def test_a_merged_segment_counts_nothing():
    """All that a segment across two skeletons holds is lost; what they have elsewhere counts."""
    segment, skeleton = np.array([7, 7, 7, 7, 9, 9], np.uint64), np.array([0, 0, 0, 1, 1, 1])
    edges = np.array([(0, 1), (1, 2), (3, 4), (4, 5)])
    found = run_length(segment, Paths(skeleton, edges, np.array([1.0, 1, 1, 2])))
    assert astuple(found) == (4 / 5, 4 / 13, 1, 2, 0)


def test_background_is_an_omission_and_no_segment():
    """Two skeletons that both have nodes in background are not merged by it."""
    segment, skeleton = np.array([0, 7, 7, 0, 9, 9], np.uint64), np.array([0, 0, 0, 1, 1, 1])
    edges = np.array([(0, 1), (1, 2), (3, 4), (4, 5)])
    assert astuple(run_length(segment, Paths(skeleton, edges, np.ones(4)))) == (0.5, 0.25, 0, 0, 2)


def test_without_edges_there_is_no_run_length():
    """Nodes alone give nan rather than a score."""
    found = run_length(np.array([1, 2], np.uint64), Paths(np.array([0, 1]), np.zeros((0, 2), int), np.zeros(0)))
    assert astuple(found) == pytest.approx((np.nan, np.nan, 0, 0, 0), nan_ok=True)


def test_few_nodes_of_another_skeleton_are_tolerated():
    """With a tolerance of one node, a segment that holds one of another skeleton is not merged; with two it is."""
    segment, skeleton = np.array([7, 7, 7, 7, 9, 9], np.uint64), np.array([0, 0, 0, 1, 1, 1])
    edges = np.array([(0, 1), (1, 2), (3, 4), (4, 5)])
    lengths = np.array([1.0, 1, 1, 2])
    strict, tolerant = (run_length(segment, Paths(skeleton, edges, lengths, nodes)) for nodes in (0, 1))
    assert astuple(strict) == (4 / 5, 4 / 13, 1, 2, 0)
    assert astuple(tolerant) == (8 / 5, 8 / 13, 1, 0, 0)
    segment[4] = 7
    assert run_length(segment, Paths(skeleton, edges, lengths, 1)).merged_edges == 3
