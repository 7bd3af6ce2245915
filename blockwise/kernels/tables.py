# mypy: allow-untyped-defs
"""Overlap tables (which fragment meets which truth object in how many voxels) and renaming of voxels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from blockwise.errors import BadInput
from blockwise.kernels.compiled import compiled
from blockwise.kernels.pairs import empty_table, find_row, order_pairs, with_room

OVERLAP = np.dtype([("fragment", "<u8"), ("truth", "<u8"), ("voxels", "<u8")])
"""The voxels that a fragment (or segment) and a truth object share; 0 is background in both."""

_NO_ROW = np.empty(0, OVERLAP)

AT_ONCE = 1 << 18
"""Rows that are added up before more are taken in."""


@compiled
def _count(ids, truth):
    """Columns (fragment, truth, voxels); a run of equal voxels costs one look-up."""
    table = empty_table(2048)
    used = 0
    start = 0
    while start < len(ids):
        end = start + 1
        while end < len(ids) and ids[end] == ids[start] and truth[end] == truth[start]:
            end += 1
        table = with_room(table, used, 1)
        row = find_row(table, used, ids[start], np.uint64(truth[start]))
        used += row == used
        table[3][row] += np.uint64(end - start)
        start = end
    return table[1][:used].copy(), table[2][:used].copy(), table[3][:used].copy()


def count_overlap(ids: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many voxels each pair of ids shares: OVERLAP sorted by (fragment, truth), zeros included.

    ids: any shape, uint64. truth: the same shape, any unsigned integers.
    Raises BadInput if they differ in shape or the truth is not made of unsigned integers.
    """
    if ids.shape != truth.shape or truth.dtype.kind != "u":
        got = (truth.dtype, truth.shape)
        wanted = ("unsigned integers", ids.shape)
        raise BadInput("truth", "does not fit the fragments", got=got, wanted=wanted)
    flat_ids = np.ascontiguousarray(ids, np.uint64).ravel()
    columns = _count(flat_ids, np.ascontiguousarray(truth).ravel())
    order = order_pairs(columns[0], columns[1])
    return as_overlap(*(column[order] for column in columns))


def as_overlap(fragment: np.ndarray, truth: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Three columns as an OVERLAP table."""
    table = np.empty(len(fragment), OVERLAP)
    table["fragment"] = fragment
    table["truth"] = truth
    table["voxels"] = voxels
    return table


@compiled
def _is_merged(fragment, truth):
    """Whether pairs rise from row to row."""
    for row in range(1, len(fragment)):
        if fragment[row] < fragment[row - 1] or (fragment[row] == fragment[row - 1] and truth[row] <= truth[row - 1]):
            return False
    return True


def merge_overlaps(tables: Sequence[np.ndarray]) -> np.ndarray:
    """All rows of the tables, sorted by (fragment, truth), voxels of equal pairs added; not copied if they are so."""
    tables = [table for table in tables if len(table)]
    if len(tables) == 1 and _is_merged(tables[0]["fragment"], tables[0]["truth"]):
        return tables[0]
    # Column by column, as a copy of all rows for each step would be the most that scoring a box holds.
    fragment, truth, voxels = (
        np.concatenate([table[name] for table in [_NO_ROW, *tables]]) for name in ("fragment", "truth", "voxels")
    )
    order = order_pairs(fragment, truth)
    fragment = fragment[order]
    truth = truth[order]
    voxels = voxels[order]
    is_new = (fragment[1:] != fragment[:-1]) | (truth[1:] != truth[:-1])
    first = np.flatnonzero(np.r_[True, is_new][: len(order)])
    voxels = np.add.reduceat(voxels, first) if len(first) else voxels
    return as_overlap(fragment[first], truth[first], voxels)


def added_up(tables: Iterable[np.ndarray]) -> np.ndarray:
    """The same of tables that come one by one, many of which have the same pairs: few rows are held at a time."""
    waiting, count = [np.empty(0, OVERLAP)], 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        if count > AT_ONCE:
            waiting, count = [merge_overlaps(waiting)], 0
    return merge_overlaps(waiting)


@compiled
def _distinct(ids, begin):
    """Numbers other than 0, unsorted; only a run of voxels unlike the one above its first is looked up."""
    table, used = empty_table(2048), 0
    for z in range(begin[0], ids.shape[0]):
        for y in range(begin[1], ids.shape[1]):
            row, above = ids[z, y], ids[z, max(y - 1, begin[1])]
            table = with_room(table, used, len(row))
            last = np.uint64(0)
            for x in range(begin[2], len(row)):
                value = row[x]
                if value != last:
                    last = value
                    if value != 0 and (y == begin[1] or above[x] != value):
                        used += find_row(table, used, value, np.uint64(0)) == used
    return table[1][:used].copy()


def distinct(ids: np.ndarray, begin: tuple[int, ...] = (0, 0, 0)) -> np.ndarray:
    """The numbers but 0 among the ids (z, y, x) uint64 from the voxel `begin` on, sorted, each once."""
    found: np.ndarray = np.sort(_distinct(np.ascontiguousarray(ids, np.uint64), tuple(int(edge) for edge in begin)))
    return found


@compiled
def _position(old, value):
    """The row of a value in a sorted array, or -1."""
    low, high = 0, len(old)
    while low < high:
        middle = (low + high) // 2
        if old[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < len(old) and old[low] == value else -1


@compiled
def _relabel(ids, old, new, stride, result):
    """Neighbours are mostly equal: only a run of voxels unlike the one above its first is looked up."""
    start = 0
    while start < len(ids):
        value, end = ids[start], start + 1
        while end < len(ids) and ids[end] == value:
            end += 1
        if start >= stride and ids[start - stride] == value:
            named = result[start - stride]
        else:
            row = _position(old, value)
            named = new[row] if row >= 0 else value
        result[start:end] = named
        start = end


def relabel(ids: np.ndarray, old_sorted: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The ids with each old one replaced by the new one of its row; ids that are not among the old ones stay.

    ids: any shape, uint64. old_sorted, new: (n,) uint64, the old ones ascending.
    """
    flat = np.ascontiguousarray(ids, np.uint64).ravel()
    old = np.ascontiguousarray(old_sorted, np.uint64)
    named = np.ascontiguousarray(new, np.uint64)
    stride = ids.shape[-1] if ids.ndim > 1 else len(flat)
    result = np.empty_like(flat)
    _relabel(flat, old, named, stride, result)
    return result.reshape(ids.shape)
