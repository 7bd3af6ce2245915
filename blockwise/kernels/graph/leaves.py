"""Which fragments go on from one leaf of a graph into others, told from the numbers that leaves have in common.

A leaf knows its fragments by provisional numbers, each of which is at home in one leaf: where its voxel lies. A leaf
also has numbers that are at home elsewhere, of the voxels before its low faces. A fragment that goes on in another
leaf has a number in each that is seen from both; so these numbers, a surface's worth, tell all that leaves must know
of each other, and each can name all others by itself.

Boxes of leaves are united as leaves are: by the numbers that are known outside of each, again a surface's worth. A box
that has all leaves with a number in it is done with that number; the last box is done with all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blockwise.kernels.components import PAIR, components, unique_pairs
from blockwise.kernels.graph.boxes import WHERE, Span, outside
from blockwise.kernels.tables import relabel

ROOT = np.dtype([("number", "<u8"), ("root", "<u8")])
"""A provisional number, and the smallest one that it is joined with inside of a leaf."""

NAMED = np.dtype([("root", "<u8"), ("fragment", "<u8"), ("first", "<u4"), ("last", "<u4")])
"""The root of a fragment that is in several leaves, its final number, and the first and the last of these leaves."""

SHARED = np.dtype([("number", "<u8"), ("root", "<u8"), ("first", "<u4"), ("last", "<u4")])
"""A number that several leaves have, the smallest one that it is joined with inside of a box, and the first and the
last leaf with it as far as is known there: at home all, elsewhere that leaf and the number's home."""


def join_inside(pairs: np.ndarray) -> np.ndarray:
    """ROOT of the numbers that have another root, sorted. pairs: PAIR of a leaf, in any order."""
    number, root = components(pairs)
    rows = np.empty(np.count_nonzero(number != root), ROOT)
    rows["number"], rows["root"] = number[number != root], root[number != root]
    return rows


def find_shared(here: int, number: np.ndarray, leaf: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """SHARED of a leaf, sorted by number.

    number, leaf: numbers of this leaf that another one has as well, and which, in any order: those at home there, and
    those at home here. inside: from `join_inside`.
    """
    number, first, last = _reach(number, leaf, leaf)
    root = relabel(number, inside["number"], inside["root"])
    return _rows(SHARED, number, root, np.minimum(first, here), np.maximum(last, here))


def unite(rows: Sequence[np.ndarray], span: Span) -> tuple[list[np.ndarray], np.ndarray]:
    """What boxes have in common, told from what each knows of itself.

    rows: SHARED of each; span: the box that they make. Returns NAMED for each, sorted, each root once: by the smallest
    number in the box, and as far as the box knows where else the fragment is; and the SHARED of the box, sorted.
    """
    everything = np.concatenate([np.empty(0, SHARED), *rows])
    pairs = np.empty(len(everything), PAIR)
    pairs["u"], pairs["v"] = everything["root"], everything["number"]
    joined = components(unique_pairs(pairs))
    del pairs
    fragment, first, last = _reach(relabel(everything["root"], *joined), everything["first"], everything["last"])
    named = []
    for some in rows:
        root = np.unique(some["root"])
        at = np.searchsorted(fragment, relabel(root, *joined))
        named.append(_rows(NAMED, root, fragment[at], first[at], last[at]))
    # A fragment goes on as far as any of its numbers, which is noted at the smallest one.
    number, first, last = _reach(
        np.concatenate([everything["number"], fragment]),
        np.concatenate([everything["first"], first]),
        np.concatenate([everything["last"], last]),
    )
    shared = _rows(SHARED, number, relabel(number, *joined), first, last)
    return named, shared[outside(shared, span)]


def tell(united: np.ndarray, told: np.ndarray) -> np.ndarray:
    """NAMED of a box within another. united: what `unite` gave for it; told: NAMED of the other, sorted."""
    at = np.searchsorted(told["root"], united["fragment"])
    at[at == len(told)] = 0
    goes_on = told["root"][at] == united["fragment"] if len(told) else np.zeros(len(united), bool)
    named = united.copy()
    for name in ("fragment", "first", "last"):
        named[name][goes_on] = told[name][at[goes_on]]
    return named


def _reach(number: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers, sorted, each once, with the smallest first and the largest last."""
    order = np.argsort(number, kind="stable")
    number = number[order]
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]][: len(number)])
    if not len(starts):
        return number, first, last
    return number[starts], np.minimum.reduceat(first[order], starts), np.maximum.reduceat(last[order], starts)


def _rows(dtype: np.dtype, *columns: np.ndarray) -> np.ndarray:
    """Rows of a type from its columns."""
    rows = np.empty(len(columns[0]), dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        rows[name] = column
    return rows


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
