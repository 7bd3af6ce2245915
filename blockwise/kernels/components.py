# mypy: allow-untyped-defs
"""Pairs of numbers that are one, and what all that hang together are called: by the smallest of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.pairs import order_pairs

PAIR = np.dtype([("u", "<u8"), ("v", "<u8")])
"""Two provisional ids of one fragment, u < v."""


def joins(ids_face: np.ndarray, ids_below: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """The pairs of provisional ids that links across a face make one fragment, unique and sorted PAIR.

    ids_face, ids_below: uint64, the block's low face and the voxels before it in the other block, same shape.
    linked:              bool or uint8, from `label_block`.
    """
    across = (np.asarray(linked) != 0) & (ids_face != 0) & (ids_below != 0)
    first, second = ids_face[across], ids_below[across]
    pairs = np.empty(len(first), PAIR)
    pairs["u"], pairs["v"] = np.minimum(first, second), np.maximum(first, second)
    return unique_pairs(pairs)


def unique_pairs(pairs: np.ndarray) -> np.ndarray:
    """The PAIRs sorted by (u, v), each once, without those of an id with itself."""
    pairs = pairs[pairs["u"] != pairs["v"]]
    u, v = np.ascontiguousarray(pairs["u"]), np.ascontiguousarray(pairs["v"])
    pairs = pairs[order_pairs(u, v)]
    distinct: np.ndarray = pairs[np.r_[True, pairs[1:] != pairs[:-1]][: len(pairs)]]
    return distinct


def components(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids in PAIRs, sorted, and for each the smallest id it is connected with (both uint64)."""
    ids, row = np.unique(np.concatenate([pairs["u"], pairs["v"]]), return_inverse=True)
    parents = np.arange(len(ids), dtype=np.int64)
    _unite_rows(parents, row[: len(pairs)], row[len(pairs) :])
    return ids, ids[parents]


@compiled
def _unite_rows(parents, first, second):
    """Turn `parents` (each row its own) into the smallest row each is connected with."""
    for edge in range(len(first)):
        one, other = first[edge], second[edge]
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        while parents[other] != other:
            parents[other] = parents[parents[other]]
            other = parents[other]
        parents[max(one, other)] = min(one, other)
    for row in range(len(parents)):
        parents[row] = parents[parents[row]]


def named_after(own: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids in PAIRs that change their name, sorted, and the smallest of the own ids that each is connected with.

    own: ids, sorted. pairs: at least one id of each is among them.
    """
    ids, root = components(pairs)
    is_own = np.isin(ids, own)
    roots, first = np.unique(root[is_own], return_index=True)
    name = ids[is_own][first][np.searchsorted(roots, root)]
    return ids[name != ids], name[name != ids]


def concatenate_pairs(tables: Sequence[np.ndarray]) -> np.ndarray:
    """All PAIRs of the tables, unique and sorted."""
    return unique_pairs(np.concatenate([np.empty(0, PAIR), *tables]))
