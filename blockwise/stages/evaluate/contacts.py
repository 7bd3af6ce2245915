"""Where two clusters touch that became one: the pair of fragments and the voxel to look at.

Nothing is kept for this while the volume is processed: the edges in the store say which fragments of the two
clusters touch and in which blocks, and only these blocks are read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from funlib.geometry import Coordinate

from blockwise.arrays.volume import Volume, read
from blockwise.grid import Grid, Voxels, as_voxels
from blockwise.kernels.scores.false_merges import FalseMerge
from blockwise.kernels.tables import distinct, relabel
from blockwise.stages.evaluate.members import Sides, sides_of
from blockwise.stages.renaming import final_numbers_of
from blockwise.stages.tables import EDGES
from blockwise.store.base import Store

AT_ONCE = 64
"""Merges in one pass over the edges: one bit each."""

TOUCH = np.dtype([("one", "<u8"), ("other", "<u8"), ("sum", "<u8"), ("count", "<u8"), ("key", "<i8"), ("bits", "<u8")])
"""Fragments of the first and the second cluster that touch in a block, their affinities, and for which merges."""


@dataclass(frozen=True)
class Contact:
    """The best edge between two clusters, the one with the highest mean affinity (ties: the smaller numbers)."""

    fragments: tuple[int, int]
    """A fragment of the first cluster and one of the second."""

    voxel: Voxels
    """Of the voxels whose neighbour before them on some axis is in the other fragment, the first in C order."""


def contacts(
    store: Store, fragments: Volume, grid: Grid, dendrogram: Volume, merges: Sequence[FalseMerge]
) -> list[Contact]:
    """One contact for each merge, in their order; grid: the blocks that edges were counted in."""
    found = []
    for start in range(0, len(merges), AT_ONCE):
        some = merges[start : start + AT_ONCE]
        touching = np.concatenate([np.empty(0, TOUCH), *_touching(store, grid, sides_of(dendrogram, some))])
        for place, merge in enumerate(some):
            rows = touching[touching["bits"] >> np.uint64(place) & np.uint64(1) == 1]
            found.append(_contact(rows, merge, fragments, grid, store))
    return found


def _touching(store: Store, grid: Grid, sides: Sides) -> Iterator[np.ndarray]:
    """The edges of each block that lead from one cluster of a merge to the other, as TOUCH."""
    for key, table in store.each(EDGES):
        ends = [np.ascontiguousarray(table[end]) for end in ("u", "v")]
        names = final_numbers_of(np.concatenate(ends), grid, store)
        ends = [relabel(end, *names) for end in ends]
        (first_u, second_u), (first_v, second_v) = (sides.bits_of(end) for end in ends)
        for bits, one, other in ((first_u & second_v, *ends), (second_u & first_v, *ends[::-1])):
            chosen = np.flatnonzero(bits)
            rows = np.empty(len(chosen), TOUCH)
            columns = (one, other, table["sum"], table["count"], np.broadcast_to(key, len(table)), bits)
            for name, column in zip(TOUCH.names or (), columns, strict=True):
                rows[name] = column[chosen]
            yield rows


def _contact(rows: np.ndarray, merge: FalseMerge, fragments: Volume, grid: Grid, store: Store) -> Contact:
    """The best pair of the rows; if there is none, the clusters' smallest fragments stand for it."""
    if not len(rows):
        return Contact(merge.clusters, _voxel(merge.clusters[1] - 1, grid))
    pairs, place = np.unique(rows[["one", "other"]], return_inverse=True)
    sums = np.zeros(len(pairs), np.uint64)
    counts = np.zeros(len(pairs), np.uint64)
    np.add.at(sums, place, rows["sum"])
    np.add.at(counts, place, rows["count"])
    best = int(np.argmax(sums / counts))
    pair = (int(pairs["one"][best]), int(pairs["other"][best]))
    keys = np.unique(rows["key"][place == best])
    firsts = [_first_touch(pair, int(key), fragments, grid, store) for key in keys]
    # Long-range affinities may join fragments that have no common face.
    voxel = min((index for index in firsts if index is not None), default=pair[0] - 1)
    return Contact(pair, _voxel(voxel, grid))


def _voxel(index: int, grid: Grid) -> Voxels:
    """Where a voxel is, from its index in the volume."""
    return as_voxels(int(at) for at in np.unravel_index(index, grid.volume))


def _first_touch(pair: tuple[int, int], key: int, fragments: Volume, grid: Grid, store: Store) -> int | None:
    """The smallest index of a voxel of the block that is in one fragment, and the one before it in the other."""
    own = grid.block_at(key).write_roi
    margin = Coordinate(min(1, begin) for begin in own.begin)
    around = own.grow(margin, Coordinate(0, 0, 0))
    ids = read(fragments, around)
    ids = relabel(ids, *final_numbers_of(distinct(ids, (0, 0, 0)), grid, store))
    is_one, is_other = ids == np.uint64(pair[0]), ids == np.uint64(pair[1])
    touch = np.zeros(ids.shape, bool)
    for axis in range(3):
        here, before = ([slice(None)] * 3 for _ in range(2))
        here[axis], before[axis] = slice(1, None), slice(None, -1)
        now, then = tuple(here), tuple(before)
        touch[now] |= (is_one[now] & is_other[then]) | (is_other[now] & is_one[then])
    inside = np.argwhere(touch[tuple(slice(step, None) for step in margin)])
    if not len(inside):
        return None
    place = inside[0] + np.array(own.begin)
    return int(np.ravel_multi_index(tuple(place), grid.volume))
