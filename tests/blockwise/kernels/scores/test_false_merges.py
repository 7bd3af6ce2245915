"""The merges that first joined two true objects are those that a loop over all clusters finds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from blockwise.kernels.graph.agglomeration import Dendrogram, agglomerate
from blockwise.kernels.scores.false_merges import FalseMerge, both_sides
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import OVERLAP
from tests.blockwise.kernels.graph.test_edges import random_edges
from tests.blockwise.kernels.scores.test_scores import random_table
from tests.support.affinities import ALL_MERGES
from tests.support.scoring import first_false_merges


def slow_clusters(dendrogram):
    """(parent, child, score, members of both) of every merge, best first, from sets of fragments."""
    merges = zip(*(a.tolist() for a in (dendrogram.score, dendrogram.fragment, dendrogram.parent)), strict=True)
    clusters = {fragment: {fragment} for fragment in dendrogram.fragment.tolist()}
    for height, child, parent in sorted((m for m in merges if m[1] != m[2]), key=lambda m: (-m[0], -m[1])):
        yield parent, child, height, set(clusters[parent]), set(clusters[child])
        clusters[parent] |= clusters.pop(child)


def main_object(table, members, ignore):
    """(voxels, object) that a set of fragments shares most with."""
    shared = {}
    for fragment, truth, voxels in table.tolist():
        if fragment in members and truth not in {0, *ignore}:
            shared[truth] = shared.get(truth, 0) + voxels
    return max(((voxels, truth) for truth, voxels in shared.items()), default=(0, 0))


def slow_false_merges(table, dendrogram, least, ignore):
    """All false merges without their cost."""
    seen, found = set(), []
    for parent, child, height, one, other in slow_clusters(dendrogram):
        (a, first), (b, second) = (main_object(table, members, ignore) for members in (one, other))
        pair = frozenset((first, second))
        if min(a, b) >= max(1, least) and len(pair) == 2 and pair not in seen:
            seen.add(pair)
            found.append((height, (parent, child), (first, second), (a, b)))
    return found


@pytest.mark.parametrize("least", [0, 1000, 2**25])
@pytest.mark.parametrize("ignore", [(0,), (), (1, 2)])
def test_false_merges_are_those_of_a_loop_over_clusters(ignore, least):
    """Score, clusters, objects and voxels agree on graphs with massive ties and without, rows in any order."""
    lengths = set()
    for seed, levels in enumerate((4, 256, 4, 256)):
        dendrogram = agglomerate(random_edges(seed, nodes=120, rows=300, levels=levels), 255, ALL_MERGES)
        table = random_table(seed, dendrogram.fragment, truths=7)
        wanted = slow_false_merges(table, dendrogram, least, ignore)
        found = first_false_merges(np.random.default_rng(1).permutation(table), dendrogram, least, 99, ignore)
        assert [(m.score, m.clusters, m.truth, m.voxels) for m in found] == wanted
        assert first_false_merges(table, dendrogram, least, 3, ignore) == found[:3]
        lengths.add(len(found))
    assert max(lengths) > 3


def test_the_cost_is_what_voi_merge_grows_by():
    """Between the thresholds around a merge, VOI merge differs by its cost."""
    dendrogram = agglomerate(random_edges(3, nodes=60, rows=200, levels=256), 255, ALL_MERGES)
    table = random_table(3, dendrogram.fragment)
    costs = {merge.clusters: merge.voi_merge for merge in first_false_merges(table, dendrogram, 1, 99, (0,))}
    segment_of = {fragment: fragment for fragment in dendrogram.fragment.tolist()}
    for parent, child, _, _, members in slow_clusters(dendrogram):
        scores = []
        for _ in range(2):
            mapped = table.copy()
            mapped["fragment"] = [segment_of.get(f, f) for f in table["fragment"].tolist()]
            scores.append(score(mapped, (0,)).voi_merge)
            segment_of.update(dict.fromkeys(members, segment_of[parent]))
        if (parent, child) in costs:
            assert costs.pop((parent, child)) == pytest.approx(scores[1] - scores[0], abs=1e-9)
    assert not costs


def test_the_sides_of_a_merge_are_its_clusters():
    """Every fragment has the bits of the clusters that it was in when they merged."""
    dendrogram = agglomerate(random_edges(5, nodes=120, rows=300, levels=4), 255, ALL_MERGES)
    table = random_table(5, dendrogram.fragment)
    merges = first_false_merges(table, dendrogram, 1, 64, (0,))
    bits = both_sides(dendrogram, merges)
    clusters = {(parent, child): members for parent, child, _, *members in slow_clusters(dendrogram)}
    for place, merge in enumerate(merges):
        for side, members in zip(bits, clusters[merge.clusters], strict=True):
            marked = side >> np.uint64(place) & np.uint64(1) == 1
            assert set(dendrogram.fragment[marked].tolist()) == members


def test_slivers_do_not_count():
    """A piece of another object that is smaller than asked for neither makes nor hides a false merge."""
    table = np.array([(1, 5, 90), (2, 6, 9), (3, 6, 80), (4, 5, 70)], OVERLAP)
    ids = np.arange(1, 5, dtype=np.uint64)
    tree = Dendrogram(ids, np.array([1, 1, 1, 1], np.uint64), np.array([0, 0.9, 0.5, 0.4]))
    assert [merge.score for merge in first_false_merges(table, tree, 1, 20, (0,))] == [0.9]
    (found,) = first_false_merges(table, tree, 10, 20, (0,))
    assert (found.score, found.truth, found.voxels) == (0.5, (5, 6), (90, 80))
    assert math.isfinite(found.voi_merge)
    assert found.voi_merge > 0


def test_nothing_merged_is_nothing_false():
    """Without merges, without rows, and with none wanted the list is empty."""
    ids = np.arange(1, 3, dtype=np.uint64)
    alone, together = Dendrogram(ids, ids, np.zeros(2)), Dendrogram(ids, ids[[0, 0]], np.array([0, 0.5]))
    table = np.array([(1, 5, 90), (2, 6, 80)], OVERLAP)
    assert first_false_merges(table, alone, 1, 20, (0,)) == []
    assert first_false_merges(table[:0], together, 1, 20, (0,)) == []
    assert first_false_merges(table, together, 1, 0, (0,)) == []
    cost = score(np.array([(1, 5, 90), (1, 6, 80)], OVERLAP), (0,)).voi_merge
    wanted = [FalseMerge(0.5, (1, 2), (5, 6), (90, 80), pytest.approx(cost))]
    assert first_false_merges(table, together, 1, 1, (0,)) == wanted
