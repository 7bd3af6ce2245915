"""Which fragments go on from one leaf of a graph into others, told from the numbers that leaves have in common.

A leaf knows its fragments by provisional numbers, each of which is at home in one leaf: where its voxel lies. A leaf
also has numbers that are at home elsewhere, of the voxels before its low faces. A fragment that goes on in another
leaf has a number in each that is seen from both; so these numbers, a surface's worth, tell all that leaves must know
of each other, and each can name all others by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from blockwise.kernels.components import PAIR, components, unique_pairs
from blockwise.kernels.graph.boxes import WHERE
from blockwise.kernels.tables import relabel

ROOT = np.dtype([("number", "<u8"), ("root", "<u8")])
"""A provisional number, and the smallest one that it is joined with inside of a leaf."""

NAMED = np.dtype([("root", "<u8"), ("fragment", "<u8"), ("first", "<u4"), ("last", "<u4")])
"""The root of a fragment that is in several leaves, its final number, and the first and the last of these leaves."""


def join_inside(pairs: np.ndarray) -> np.ndarray:
    """ROOT of the numbers that have another root, sorted. pairs: PAIR of a leaf, in any order."""
    number, root = components(pairs)
    rows = np.empty(np.count_nonzero(number != root), ROOT)
    rows["number"], rows["root"] = number[number != root], root[number != root]
    return rows


def shared(abroad: Sequence[np.ndarray], home: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """For each leaf the numbers that another leaf has as well, sorted, each once.

    abroad: for each leaf the numbers in it that are at home elsewhere. home: the leaf of each number.
    """
    seen = np.unique(np.concatenate([np.empty(0, np.uint64), *abroad]))
    at = home(seen)
    order = np.argsort(at, kind="stable")
    own = np.split(seen[order], np.searchsorted(at[order], np.arange(1, len(abroad))))
    return [np.union1d(mine, others) for mine, others in zip(own, abroad, strict=True)]


def find_roots(numbers: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """ROOT of the numbers. inside: from `join_inside` of the same leaf."""
    rows = np.empty(len(numbers), ROOT)
    rows["number"], rows["root"] = numbers, relabel(numbers, inside["number"], inside["root"])
    return rows


def unite(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """NAMED for each leaf, sorted, each root once. rows: ROOT of the numbers of each leaf that others have."""
    everything = np.concatenate([np.empty(0, ROOT), *rows])
    leaf = np.repeat(np.arange(len(rows), dtype=np.uint32), [len(some) for some in rows])
    number, smallest = components(unique_pairs(everything.view(PAIR)))
    named = np.empty(len(everything), NAMED)
    named["root"], named["fragment"] = everything["root"], relabel(everything["root"], number, smallest)
    order = np.argsort(named["fragment"], kind="stable")  # leaves ascend within each fragment
    fragment = named["fragment"][order]
    starts = np.flatnonzero(np.r_[True, fragment[1:] != fragment[:-1]][: len(order)])
    lengths = np.diff(np.r_[starts, len(order)])
    named["first"][order] = np.repeat(leaf[order[starts]], lengths)
    named["last"][order] = np.repeat(leaf[order[starts + lengths - 1]], lengths)
    return [_first_of(some, "root") for some in np.split(named, np.cumsum([len(some) for some in rows])[:-1])]


def _first_of(rows: np.ndarray, name: str) -> np.ndarray:
    """The rows sorted by a field, one for each value of it."""
    found: np.ndarray = rows[np.unique(rows[name], return_index=True)[1]]
    return found


def final_names(inside: np.ndarray, named: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a leaf that have another final one, sorted, and the final ones."""
    number = np.concatenate([inside["number"], named["root"]])
    final = relabel(np.concatenate([inside["root"], named["root"]]), named["root"], named["fragment"])
    order = np.argsort(number, kind="stable")
    order = order[final[order] != number[order]]
    return number[order], final[order]


def elsewhere(named: np.ndarray) -> np.ndarray:
    """WHERE of the fragments of a leaf that are in others as well, sorted, each once."""
    several = _first_of(named[named["first"] != named["last"]], "fragment")
    rows = np.empty(len(several), WHERE)
    for name in WHERE.names or ():
        rows[name] = several[name]
    return rows
