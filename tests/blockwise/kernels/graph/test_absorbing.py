"""Small segments join what they would merge with, at every threshold, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.kernels.graph.absorbing import absorb
from blockwise.kernels.graph.agglomeration import Dendrogram, agglomerate, cut
from blockwise.kernels.graph.edges import EDGE
from blockwise.kernels.graph.rules import MergeRules, SmallRules
from tests.support.absorbed import slow_segments

THRESHOLDS = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.99)


def random_graph(seed: int, count: int = 40, levels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Edges whose means tie, in pieces of a sum and in no order, some fragments without any; and fragments' voxels."""
    random = np.random.default_rng(seed)
    pairs = np.sort(random.integers(0, count - 3, (3 * count, 2)), axis=1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    edges = np.zeros(len(pairs), EDGE)
    edges["u"], edges["v"] = 7 * pairs.T + 1
    edges["count"] = random.integers(1, 4, len(pairs))
    edges["sum"] = edges["count"] * (random.integers(0, levels, len(pairs)) * 80 // (levels - 1) * 3).astype(np.uint64)
    return edges, random.integers(1, 30, count).astype(np.int64)


def grown(edges: np.ndarray, voxels: np.ndarray, stop: float = 0.1) -> Dendrogram:
    """The dendrogram of all fragments."""
    nodes = 7 * np.arange(len(voxels), dtype=np.uint64) + np.uint64(1)
    return agglomerate(edges, 255, MergeRules(stop=stop), nodes)


def by_fragment(tree: Dendrogram, threshold: float) -> np.ndarray:
    """The segment of each fragment, in the order of their numbers, without background."""
    return cut(tree, threshold)[tree.fragment > 0]


def sizes(segment: np.ndarray, voxels: np.ndarray) -> dict[int, int]:
    """The voxels of each segment."""
    return {int(number): int(voxels[segment == number].sum()) for number in np.unique(segment)}


@pytest.mark.parametrize("isolated", ["background", "keep"])
@pytest.mark.parametrize("least", [2, 12, 25, 60, 200])
def test_segments_are_those_of_the_definition(isolated, least):
    """Ties, chains of small ones and unconnected ones: at each threshold the segments that sets and fractions give."""
    rules = SmallRules(min_voxels=least, isolated=isolated)
    for seed in range(6):
        edges, voxels = random_graph(seed, levels=4 if seed % 2 else 40)
        tree = grown(edges, voxels)
        made = absorb(tree, voxels, [edges], rules)
        for threshold in THRESHOLDS:
            expected = slow_segments(tree, voxels, edges, rules, threshold)
            np.testing.assert_array_equal(by_fragment(made, threshold), expected)


def test_no_segment_is_too_small_and_no_two_large_ones_become_one():
    """At each threshold a segment has enough voxels or is isolated; it is at most one large one and small ones."""
    rules = SmallRules(min_voxels=40, isolated="keep")
    joined = 0
    for seed in range(8):
        edges, voxels = random_graph(seed)
        tree = grown(edges, voxels)
        made = absorb(tree, voxels, [edges], rules)
        whole = sizes(cut(tree, 0.1), voxels)
        for threshold in THRESHOLDS:
            before, after = cut(tree, threshold), cut(made, threshold)
            small = {number for number, size in sizes(after, voxels).items() if size < 40}
            assert small <= {number for number, size in whole.items() if size < 40}
            were = sizes(before, voxels)
            for number in np.unique(after):
                parts = np.unique(before[after == number])
                assert sum(were[int(part)] >= 40 for part in parts) <= 1
                joined += len(parts) > 1
            coarser = cut(made, 0.1)
            assert all(len(np.unique(coarser[after == number])) == 1 for number in np.unique(after))
    assert joined > 100


def test_order_and_pieces_of_edges_do_not_show():
    """Edges in any order and in pieces, as blocks count them, give the same dendrogram to the last bit."""
    random = np.random.default_rng(1)
    for seed in range(4):
        edges, voxels = random_graph(seed)
        tree, rules = grown(edges, voxels), SmallRules(min_voxels=30)
        one = absorb(tree, voxels, [edges], rules)
        other = absorb(tree, voxels, np.array_split(random.permutation(edges), 7), rules)
        for name in ("fragment", "parent", "score"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (one.parent <= one.fragment).all()
        above = one.score[np.searchsorted(one.fragment, one.parent)]
        is_root = one.parent[np.searchsorted(one.fragment, one.parent)] == one.parent
        assert (is_root | (above <= one.score)).all()


def test_absorbing_again_changes_nothing():
    """What has no small segments left keeps its segments at every threshold."""
    rules = SmallRules(min_voxels=30, isolated="keep")
    for seed in range(4):
        edges, voxels = random_graph(seed)
        once = absorb(grown(edges, voxels), voxels, [edges], rules)
        twice = absorb(once, voxels, [edges], rules)
        for threshold in THRESHOLDS:
            np.testing.assert_array_equal(cut(twice, threshold), cut(once, threshold))


def test_more_voxels_than_there_are():
    """Where nothing is large enough, all that touches is one segment, and background unless it is to stay."""
    edges, voxels = random_graph(0)
    tree = grown(edges, voxels)
    gone = absorb(tree, voxels, [edges], SmallRules(min_voxels=10**9))
    kept = absorb(tree, voxels, [edges], SmallRules(min_voxels=10**9, isolated="keep"))
    assert gone.fragment[0] == 0
    assert (cut(gone, 0.9) == 0).all()
    np.testing.assert_array_equal(cut(kept, 0.9), cut(tree, 0.1))


def test_nothing_to_join():
    """Without fragments, edges or small segments nothing is joined."""
    none, alone = np.empty(0, EDGE), np.array([5, 9], np.uint64)
    empty = absorb(agglomerate(none, 255, MergeRules()), np.empty(0, np.int64), [], SmallRules(min_voxels=5))
    assert len(empty.fragment) == 0
    tree = agglomerate(none, 255, MergeRules(), alone)
    made = absorb(tree, np.array([5, 4]), [none], SmallRules(min_voxels=5))
    np.testing.assert_array_equal(by_fragment(made, 0.5), [5, 0])
    edges, voxels = random_graph(3)
    tree = grown(edges, voxels)
    same = absorb(tree, voxels, [edges], SmallRules(min_voxels=1))
    for threshold in THRESHOLDS:
        np.testing.assert_array_equal(cut(same, threshold), cut(tree, threshold))
