"""Scores from tables equal scores from voxels; one walk over the merges gives them for every threshold."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest

from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.graph.edges import EDGE
from blockwise.kernels.scores.tables import score
from blockwise.kernels.scores.walk import sum_of_squares
from blockwise.kernels.tables import OVERLAP, count_overlap, relabel
from tests.blockwise.kernels.graph.test_edges import random_edges
from tests.support.affinities import ALL_MERGES
from tests.support.scoring import best_possible, sweep


def slow_scores(segments, truth, ignore):
    """VOI split and merge, Rand error, counts and matched objects from voxels."""
    inside = ~np.isin(truth, list(ignore))
    segments, truth = segments[inside].tolist(), truth[inside].tolist()
    total, ids, truths = len(truth), set(segments), set(truth)
    both = dict.fromkeys(zip(segments, truth, strict=True), 0)
    for pair in zip(segments, truth, strict=True):
        both[pair] += 1
    size, truth_size = {i: segments.count(i) for i in ids}, {j: truth.count(j) for j in truths}
    split = -sum(n / total * math.log2(n / truth_size[j]) for (i, j), n in both.items())
    merge = -sum(n / total * math.log2(n / size[i]) for (i, j), n in both.items())
    squares = sum(n * n for n in both.values())
    precision = squares / sum(n * n for n in size.values())
    recall = squares / sum(n * n for n in truth_size.values())
    arand = 1 - 2 * precision * recall / (precision + recall)
    iou = {(i, j): n / (size[i] + truth_size[j] - n) for (i, j), n in both.items()}
    matched = sum(value > 0.5 for (i, j), value in iou.items() if i and j)
    return split, merge, arand, len(truths - {0}), matched, len(ids - {0})


def overlapping(seed, shape=(10, 10, 10)):
    """Segments and truth that agree in most voxels."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, 8, 100), 10).reshape(shape).astype(np.uint32)
    wrong = rng.random(shape) < 0.3
    return np.where(wrong, rng.integers(0, 12, shape), truth).astype(np.uint64), truth


def assert_same(one, other):
    for a, b in zip(astuple(one), astuple(other), strict=True):
        assert a == pytest.approx(b, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("ignore", [(0,), (), (0, 3, 5), (99,)])
def test_table_scores_equal_voxel_scores(ignore):
    """VOI, Rand and objects from a shuffled table, rows given twice, are those of a loop over voxels."""
    for seed in range(5):
        segments, truth = overlapping(seed)
        halves = [count_overlap(segments[:5], truth[:5]), count_overlap(segments[5:], truth[5:])]
        found = score(np.random.default_rng(0).permutation(np.concatenate(halves)), ignore, 0.5)
        split, merge, arand, truths, matched, predicted = slow_scores(segments, truth, ignore)
        assert (found.voi_split, found.voi_merge, found.arand) == pytest.approx((split, merge, arand), abs=1e-12)
        assert found.voi_sum == found.voi_split + found.voi_merge
        assert (found.truth_objects, found.matched, found.threshold) == (truths, matched, 0.5)
        assert (found.precision, found.recall) == (matched / predicted, matched / truths)
        assert found.f1 == pytest.approx(2 * matched / (predicted + truths))
        assert found.segments == len(set(segments.ravel().tolist()) - {0})
        assert matched > 0


def test_scores_equal_those_of_waterz():
    """VOI and Rand agree with the original tool, which also leaves out truth 0 and nothing else."""
    import waterz

    segments, truth = overlapping(1)
    theirs = waterz.evaluate(segments, truth.astype(np.uint64))
    ours = score(count_overlap(segments, truth), (0,))
    precision, recall = theirs["rand_merge"], theirs["rand_split"]
    assert ours.arand == pytest.approx(1 - 2 * precision * recall / (precision + recall))
    assert ours.voi_split == pytest.approx(theirs["voi_split"])
    assert ours.voi_merge == pytest.approx(theirs["voi_merge"])


def test_a_perfect_segmentation_scores_perfectly():
    """Other names for the same objects cost nothing."""
    _, truth = overlapping(0)
    found = score(count_overlap(truth.astype(np.uint64) * np.uint64(7), truth), (0,))
    assert astuple(found)[1:5] == (0, 0, 0, 0)
    assert (found.matched, found.precision, found.recall, found.f1) == (found.truth_objects, 1, 1, 1)


def test_one_segment_for_all_costs_the_entropy_of_the_truth():
    """A constant label has no splits, and merges all."""
    truth = np.repeat(np.arange(1, 5, dtype=np.uint8), 25)
    found = score(count_overlap(np.ones(100, np.uint64), truth), (0,))
    assert (found.voi_split, found.voi_merge, found.matched) == (0, pytest.approx(2), 0)
    assert found.arand == pytest.approx(1 - 2 * 0.25 / 1.25)


def test_nothing_to_evaluate_is_not_a_number():
    """Where every truth is ignored, scores are nan rather than perfect."""
    found = score(np.array([(1, 0, 10)], OVERLAP), (0,))
    assert math.isnan(found.voi_sum)
    assert math.isnan(found.arand)
    assert found.segments == 1
    assert math.isnan(score(np.zeros(0, OVERLAP), (0,)).f1)


def test_background_counts_towards_segments_if_it_is_not_ignored():
    """A segment that spills over background loses its object only if background is evaluated."""
    table = np.array([(0, 0, 50), (1, 0, 30), (1, 5, 20), (2, 6, 20)], OVERLAP)
    assert score(table, ignore=(0,)).matched == 2
    with_background = score(table, ignore=())
    assert (with_background.matched, with_background.truth_objects, with_background.precision) == (1, 2, 0.5)


def test_squares_of_large_objects_are_exact():
    """Sums of squares do not overflow, as they would in 64 bits."""
    values = [2**40 + 3, 2**42 - 1, 3 * 10**9, 0, 1, 2**62, 2**63 - 1]
    assert sum_of_squares(np.array(values, np.uint64)) == sum(value * value for value in values)


def random_table(seed, fragments, truths=9):
    rng = np.random.default_rng(seed)
    rows = np.zeros(4 * len(fragments), OVERLAP)
    rows["fragment"] = rng.choice(np.r_[fragments, np.uint64(0), np.uint64(2**50)], len(rows))
    rows["truth"] = rng.integers(0, truths, len(rows))
    rows["voxels"] = rng.integers(0, 2, len(rows)) * rng.integers(1, 2 ** rng.integers(1, 40, len(rows)))
    return rows


@pytest.mark.parametrize("ignore", [(0,), (), (1, 2)])
@pytest.mark.parametrize("levels", [4, 256])
def test_the_sweep_equals_scores_at_each_threshold(ignore, levels):
    """Every field agrees with a table that was mapped through the cut, at any threshold, in any order."""
    for seed in range(4):
        dendrogram = agglomerate(random_edges(seed, nodes=120, rows=400, levels=levels), 255, ALL_MERGES)
        table = random_table(seed, dendrogram.fragment[::2] if seed % 2 else dendrogram.fragment)
        thresholds = [0.5, 0.0, 1.0, 0.25, *dendrogram.score[:20].tolist(), 0.5]
        for found, threshold in zip(sweep(table, dendrogram, thresholds, ignore), thresholds, strict=True):
            mapped = table.copy()
            fragment = np.ascontiguousarray(table["fragment"])
            mapped["fragment"] = relabel(fragment, dendrogram.fragment, cut(dendrogram, threshold))
            assert_same(found, score(mapped, ignore, threshold))


def test_the_sweep_counts_matched_objects():
    """Objects found at some thresholds and lost at others are counted, on data that agree in most voxels."""
    segments, truth = overlapping(2)
    fragments = segments * np.uint64(100) + np.indices(segments.shape)[0].astype(np.uint64) // np.uint64(4)
    ids, rng = np.unique(fragments), np.random.default_rng(0)
    pairs = np.unique(np.sort(rng.choice(ids, (300, 2)), axis=1), axis=0)
    edges = np.zeros(len(pairs), EDGE)
    edges["u"], edges["v"], edges["count"] = *pairs.T, 1
    same = pairs[:, 0] // np.uint64(100) == pairs[:, 1] // np.uint64(100)
    edges["sum"] = rng.integers(0, 200, len(pairs)) + 50 * same
    edges = edges[(edges["u"] < edges["v"]) & (edges["u"] > 2)]
    dendrogram, table = agglomerate(edges, 255, ALL_MERGES), count_overlap(fragments, truth)
    thresholds = np.linspace(0, 1, 40).tolist()
    found = sweep(table, dendrogram, thresholds, (0,))
    for threshold, one in zip(thresholds, found, strict=True):
        mapped = relabel(fragments, dendrogram.fragment, cut(dendrogram, threshold))
        assert_same(one, score(count_overlap(mapped, truth), (0,), threshold))
    assert len({one.matched for one in found}) > 1


def test_the_best_possible_assigns_fragments_to_their_main_object():
    """Fragments are joined by the object they share most with, background fragments stay apart."""
    table = np.array([(1, 5, 30), (1, 6, 10), (2, 5, 20), (3, 6, 40), (3, 0, 99), (4, 0, 9)], OVERLAP)
    joined = np.array([(1, 5, 50), (1, 6, 10), (2, 6, 40)], OVERLAP)
    assert_same(best_possible(table, (0,)), score(joined, (0,)))
    perfect = np.array([(1, 5, 30), (2, 5, 20), (7, 6, 1)], OVERLAP)
    assert best_possible(perfect, (0,)).voi_sum == 0
    assert best_possible(np.array([(0, 5, 30), (2, 5, 20)], OVERLAP), (0,)).segments == 1
