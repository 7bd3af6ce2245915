# mypy: allow-untyped-defs
"""Sums over pairs of ids: a hash table that grows while it is filled, a sort by both ids, and sorted runs made one.

A table is a tuple of arrays (slots, u, v, total, count: uint64, the last uint32); its first `used` rows are
filled. `slots` has a power of two of entries, each a row or -1; rows are found by open addressing
on a hash of (u, v).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blockwise.kernels.compiled import compiled


@compiled
def empty_table(rows):
    """An empty table with room for at least `rows` rows, its slots at most half full."""
    size = 1024
    while size < 2 * rows:
        size *= 2
    slots = np.full(size, -1, np.int32)
    room = size // 2
    return (
        slots,
        np.empty(room, np.uint64),
        np.empty(room, np.uint64),
        np.zeros(room, np.uint64),
        np.zeros(room, np.uint32),
    )


@compiled
def hash_pair(u, v):
    """64 bits that depend on both numbers and on their order."""
    mixed = (np.uint64(u) * np.uint64(0x9E3779B97F4A7C15)) ^ (np.uint64(v) * np.uint64(0xC2B2AE3D27D4EB4F))
    return (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)


@compiled
def find_row(table, used, u, v):
    """The row of (u, v); `used` if it is new: then it has been entered there with zero sums."""
    slots = table[0]
    us = table[1]
    vs = table[2]
    mask = np.uint64(len(slots) - 1)
    slot = (hash_pair(u, v) >> np.uint64(20)) & mask
    while True:
        row = slots[slot]
        if row < 0:
            slots[slot] = used
            us[used] = u
            vs[used] = v
            return used
        if us[row] == u and vs[row] == v:
            return int(row)
        slot = (slot + np.uint64(1)) & mask


@compiled
def with_room(table, used, more):
    """The table itself if it has room for `more` rows, else a larger one with the same rows."""
    if used + more <= len(table[1]):
        return table
    grown = empty_table(2 * (used + more))
    for row in range(used):
        find_row(grown, row, table[1][row], table[2][row])
        grown[3][row] = table[3][row]
        grown[4][row] = table[4][row]
    return grown


@compiled
def _count_digits(values, shift):
    starts = np.zeros(2049, np.int64)
    for value in values:
        starts[np.int64((value >> shift) & np.uint64(2047)) + 1] += 1
    return starts


@compiled
def _sort_by(values, order):
    """The rows in `order` sorted stably by their value, 11 bits at a time; constant digits cost one look."""
    other = np.empty_like(order)
    for digit in range(0, 64, 11):
        shift = np.uint64(digit)
        starts = _count_digits(values, shift)
        if len(values) == 0 or starts[np.int64((values[0] >> shift) & np.uint64(2047)) + 1] == len(values):
            continue
        for code in range(2048):
            starts[code + 1] += starts[code]
        for row in order:
            bucket = np.int64((values[row] >> shift) & np.uint64(2047))
            other[starts[bucket]] = row
            starts[bucket] += 1
        order, other = other, order
    return order


def order_keys(keys: np.ndarray) -> np.ndarray:
    """The permutation that sorts uint64 numbers; equal ones keep their order."""
    order: np.ndarray = _sort_by(np.ascontiguousarray(keys), np.arange(len(keys), dtype=np.int64))
    return order


def order_pairs(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The permutation that sorts pairs of uint64 by u, then v; equal pairs keep their order."""
    if len(u) < 2000:
        return np.lexsort((v, u))
    rows = np.arange(len(u), dtype=np.int64)
    order: np.ndarray = _sort_by(u, _sort_by(v, rows))
    return order


def merge_runs(pairs: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """(n,) uint32: the place of each pair once sorted runs of pairs are merged to one, where equal ones share a place.

    pairs: (n, 2) uint64, one run after the other. sizes: how many each has.
    """
    places: np.ndarray = _merge_runs(pairs, np.cumsum([0, *sizes]))
    return places


@compiled
def _merge_runs(pairs, starts):
    at = starts[:-1].copy()
    places = np.empty(len(pairs), np.uint32)
    place, last = -1, 0
    for _ in range(len(pairs)):
        first = -1
        for run in range(len(at)):
            if at[run] < starts[run + 1] and (first < 0 or _is_before(pairs, at[run], at[first])):
                first = run
        place += place < 0 or _is_before(pairs, last, at[first])
        last = at[first]
        places[last] = place
        at[first] += 1
    return places


@compiled
def _is_before(pairs, one, other):
    return pairs[one, 0] < pairs[other, 0] or (pairs[one, 0] == pairs[other, 0] and pairs[one, 1] < pairs[other, 1])
