"""Merge fragments as `agglomeration` does, with pairs that must be one object and pairs that must not.

Pairs that must are one fragment from the beginning. Pairs that must not have an edge of no affinity and of more weight
than any other: an edge that it is added to scores almost nothing, so that it is not better than both, and all that
makes the order of merges, of rows and of pairs indifferent still holds.
"""

from __future__ import annotations

import numpy as np

from blockwise.errors import BadInput
from blockwise.kernels.components import PAIR, components, unique_pairs
from blockwise.kernels.graph.agglomeration import Dendrogram, columns, unique, weigh
from blockwise.kernels.graph.edges import EDGE, merge_edges, rename_edges
from blockwise.kernels.graph.merging import EdgeColumns, merge_all
from blockwise.kernels.graph.rules import MergeRules
from blockwise.kernels.tables import relabel

APART = 2**52
"""The weight of a pair that must not be one object, where a pair of voxels has 1."""
MOST_APART = 2000
"""So many such pairs may be added up in 64 bits, and then some."""
LEAST_SCORE = 2.0**-20
"""What scores less is not merged where there are such pairs: among these are all that they are added to."""


def agglomerate_corrected(
    edges: np.ndarray, full: int, rules: MergeRules, nodes: np.ndarray, together: np.ndarray, apart: np.ndarray
) -> Dendrogram:
    """The dendrogram of the fragments `nodes` by their mean affinities, with the pairs honoured at every threshold.

    edges: EDGE in any order. full: the affinity that scores 1. together, apart: (n, 2) uint64, fragments that must be
    one object, with a score of 1, and that must not. Raises BadInput if pairs contradict each other, or are too many.
    """
    names = components(unique_pairs(as_pairs(together)))
    kept_apart = renamed_pairs(apart, names)
    if len(kept_apart) > MOST_APART:
        raise BadInput("splits", "are too many", got=len(kept_apart), wanted=f"at most {MOST_APART}")
    none = np.zeros(len(kept_apart), EDGE)
    none["u"], none["v"], none["count"] = kept_apart["u"], kept_apart["v"], 1
    edges = merge_edges([rename_edges(edges, *names), none])
    fragment = unique([edges["u"], edges["v"], relabel(nodes, *names)])
    links, sums = columns(edges, fragment)
    sums, lists, unit = weigh(sums, full, rules.statistic, edges, None)
    sums[_rows_of(kept_apart, edges), 1] += np.uint64(APART)
    stop = max(rules.stop, LEAST_SCORE) if len(kept_apart) else rules.stop
    del edges
    merged = merge_all(EdgeColumns(links, sums, lists), np.zeros(len(fragment), np.bool_), unit, stop)
    return _with_members(Dendrogram(fragment, fragment[merged.parent], merged.score), *names)


def as_pairs(pairs: np.ndarray) -> np.ndarray:
    """(n, 2) uint64 as PAIR, the smaller number first."""
    rows = np.empty(len(pairs), PAIR)
    rows["u"], rows["v"] = np.sort(pairs.reshape(-1, 2), axis=1).T
    return rows


def renamed_pairs(apart: np.ndarray, names: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The pairs that must not be one object, under the numbers of what must be, as PAIR, each once.

    names: from `components` of what must be. Raises BadInput for a pair of one number, then or from the beginning.
    """
    renamed = relabel(np.ascontiguousarray(apart, np.uint64).reshape(-1, 2), *names)
    same = np.flatnonzero(renamed[:, 0] == renamed[:, 1])
    if len(same):
        one, other = np.asarray(apart).reshape(-1, 2)[same[0]].tolist()
        if one == other:
            raise BadInput("splits", f"both places lie in fragment {one}, which is never cut")
        raise BadInput("splits", f"{one} and {other} must not be one object, and by joins they must", todo="undo one")
    return unique_pairs(as_pairs(renamed))


def _rows_of(pairs: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Where each of the pairs is among the edges, sorted by (u, v)."""
    first, second = np.ascontiguousarray(edges["u"]), np.ascontiguousarray(edges["v"])
    low = np.searchsorted(first, pairs["u"])
    high = np.searchsorted(first, pairs["u"], side="right")
    spans = zip(low, high, pairs["v"], strict=True)
    return np.array([begin + np.searchsorted(second[begin:end], v) for begin, end, v in spans], np.int64)


def _with_members(tree: Dendrogram, number: np.ndarray, name: np.ndarray) -> Dendrogram:
    """The dendrogram with the fragments that had another's name: merged with it at a score of 1."""
    is_member = number != name
    fragment = np.concatenate([tree.fragment, number[is_member]])
    parent = np.concatenate([tree.parent, name[is_member]])
    score = np.concatenate([tree.score, np.ones(np.count_nonzero(is_member))])
    order = np.argsort(fragment, kind="stable")
    return Dendrogram(fragment[order], parent[order], score[order])
