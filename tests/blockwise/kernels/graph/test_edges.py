"""Edges are sums over the pairs of voxels of a volume, however it is cut up."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.errors import BadInput
from blockwise.kernels.components import components
from blockwise.kernels.graph.edges import EDGE, count_edges, merge_edges, rename_edges
from blockwise.kernels.pairs import order_pairs
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import BLOCKS, LONG, NEAREST, edges_by_blocks, label_blocks, noise


def slow_edges(ids, affinities, offsets):
    """Every pair of voxels, one after the other."""
    sums = {}
    for channel, offset in enumerate(offsets):
        for at in np.ndindex(ids.shape):
            other = tuple(np.add(at, offset))
            if min(other) >= 0 and ids[at] != ids[other] and ids[at] and ids[other]:
                pair = tuple(sorted((int(ids[at]), int(ids[other]))))
                total, count = sums.get(pair, (0, 0))
                sums[pair] = (total + int(affinities[(channel, *at)]), count + 1)
    return np.array([(*pair, *sums[pair]) for pair in sorted(sums)], EDGE)


def random_edges(seed, nodes=50, rows=400, levels=256):
    """Edges with every pair at most once, unsorted."""
    rng = np.random.default_rng(seed)
    u, v = rng.integers(1, nodes, (2, rows)).astype(np.uint64) * np.uint64(2**33 + 1)
    edges = np.zeros(rows, EDGE)
    edges["u"], edges["v"], edges["count"] = np.minimum(u, v), np.maximum(u, v), rng.integers(1, 5, rows)
    edges["sum"] = rng.integers(0, levels, rows) * (255 // (levels - 1)) * edges["count"]
    _, first = np.unique(edges[["u", "v"]], return_index=True)
    edges = edges[np.sort(first)]
    return edges[edges["u"] != edges["v"]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("offsets", [NEAREST, LONG])
def test_edges_are_sums_over_all_pairs(offsets, dtype):
    """The counts equal those of a loop over voxels and offsets."""
    ids = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(np.uint64) ** np.uint64(15)
    affinities = noise((5, 6, 7), dtype=dtype, channels=len(offsets))
    assert np.array_equal(count_edges(ids, affinities, offsets, (0, 0, 0)), slow_edges(ids, affinities, offsets))


@pytest.mark.parametrize("block", BLOCKS)
def test_edges_do_not_depend_on_the_blocks(block):
    """Blocks in any order count every pair exactly once, also with offsets longer than a block."""
    ids = np.random.default_rng(0).integers(0, 9, (9, 10, 11)).astype(np.uint64)
    affinities = noise((9, 10, 11), channels=len(LONG))
    whole = count_edges(ids, affinities, LONG, (0, 0, 0))
    assert np.array_equal(edges_by_blocks(ids, affinities, LONG, block, seed=5), whole)


@pytest.mark.parametrize("block", BLOCKS)
def test_edges_of_provisional_ids_may_be_renamed_afterwards(block):
    """Counting on provisional ids and renaming gives the edges of the final ids."""
    affinities, rules = noise((9, 10, 11), 4), WatershedRules(cap=0.7, background=0.34)
    provisional, pairs = label_blocks(affinities, rules, block)
    whole, _ = label_blocks(affinities, rules, (9, 10, 11))
    renamed = edges_by_blocks(provisional, affinities, NEAREST, block, components(pairs))
    assert np.array_equal(renamed, count_edges(whole, affinities, NEAREST, (0, 0, 0)))


def test_counts_sum_to_the_differing_faces_of_the_volume():
    """All counts together are the pairs of neighbours that are labelled and differ."""
    ids = np.random.default_rng(2).integers(0, 5, (7, 8, 9)).astype(np.uint64)
    edges = edges_by_blocks(ids, noise((7, 8, 9)), NEAREST, (3, 3, 3))
    faces = 0
    for axis in range(3):
        one, other = np.moveaxis(ids, axis, 0)[1:], np.moveaxis(ids, axis, 0)[:-1]
        faces += np.count_nonzero((one != other) & (one != 0) & (other != 0))
    assert edges["count"].sum() == faces


def test_many_edges_fill_a_growing_table():
    """A block in which every voxel is a fragment keeps every edge."""
    shape = (20, 21, 22)
    ids = np.arange(1, 1 + np.prod(shape), dtype=np.uint64).reshape(shape)
    affinities = noise(shape)
    edges = count_edges(ids, affinities, NEAREST, (0, 0, 0))
    assert np.array_equal(edges, slow_edges(ids, affinities, NEAREST))


def test_merging_takes_parts_in_any_order():
    """Parts and rows may be shuffled; equal pairs add up."""
    rng = np.random.default_rng(0)
    parts = [random_edges(seed) for seed in range(5)]
    sums = {}
    for u, v, total, count in np.concatenate(parts).tolist():
        before = sums.get((u, v), (0, 0))
        sums[u, v] = (before[0] + total, before[1] + count)
    wanted = np.array([(*pair, *sums[pair]) for pair in sorted(sums)], EDGE)
    assert np.array_equal(merge_edges(parts), wanted)
    assert np.array_equal(merge_edges([rng.permutation(part) for part in parts[::-1]]), wanted)
    assert len(merge_edges([])) == 0


def test_renaming_drops_edges_within_one_fragment():
    """Edges whose ends become one id vanish, those that become one pair add up, other ids stay."""
    edges = np.array([(1, 2, 10, 1), (1, 5, 20, 2), (2, 5, 30, 3), (5, 7, 40, 4)], EDGE)
    renamed = rename_edges(edges, np.array([2, 9], np.uint64), np.array([1, 3], np.uint64))
    assert renamed.tolist() == [(1, 5, 50, 5), (5, 7, 40, 4)]
    back = rename_edges(edges, np.array([1, 5], np.uint64), np.array([9, 8], np.uint64))
    assert back.tolist() == [(2, 8, 30, 3), (2, 9, 10, 1), (7, 8, 40, 4), (8, 9, 20, 2)]
    assert np.array_equal(rename_edges(edges, *np.zeros((2, 0), np.uint64)), edges)


@pytest.mark.parametrize("rows", [0, 1, 10, 5000])
def test_pairs_are_sorted_by_both_ids(rows):
    """The order equals numpy's, for ids that use all 64 bits and for few that repeat."""
    rng = np.random.default_rng(0)
    for top in (5, 2**12, 2**64 - 1):
        u, v = rng.integers(0, top, (2, rows), dtype=np.uint64)
        assert np.array_equal(order_pairs(u, v), np.lexsort((v, u)))


@pytest.mark.parametrize("offset", [(0, 0, 0), (1, 0, 0), (0, -1, 1)])
def test_offsets_must_point_back(offset):
    """An offset that is zero or positive is refused."""
    ids, affinities = np.zeros((2, 2, 2), np.uint64), np.zeros((1, 2, 2, 2), np.uint8)
    with pytest.raises(BadInput, match="offsets"):
        count_edges(ids, affinities, [offset], (0, 0, 0))


def test_shapes_must_fit():
    """Ids that are not the block grown by the margin are refused."""
    with pytest.raises(BadInput, match="shapes"):
        count_edges(np.zeros((2, 2, 2), np.uint64), np.zeros((3, 2, 2, 2), np.uint8), NEAREST, (1, 0, 0))
