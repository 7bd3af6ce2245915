# mypy: allow-untyped-defs
"""Merge fragments best edge first, in an order that is a function of the edges alone.

The key of an edge is (statistic, -tau): tau is its row in the sorted edge list, and an edge made of two keeps
the larger (worse) tau. The mean is the quotient of two integers, rounded once as IEEE 754 demands: equal
quotients are equal numbers on every machine, and rounding is monotone, so an edge made of two is never better
than both; quantiles and the maximum are bins of a histogram, of which the same holds. Hence mutually best
merges commute, and any order of rows gives the same dendrogram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockwise.errors import BadInput
from blockwise.kernels.compiled import compiled
from blockwise.kernels.graph.edges import merge_edges
from blockwise.kernels.graph.histograms import Lists, make_lists, merge_histograms, no_lists, weigh_lists
from blockwise.kernels.graph.merging import EdgeColumns, merge_all
from blockwise.kernels.graph.rules import MergeRules, Statistic
from blockwise.kernels.lookup import MOST


@dataclass(frozen=True)
class Dendrogram:
    """Which fragment each one was merged into, and at which score.

    A cluster is called by its smallest fragment, so a parent is smaller than its children.
    """

    fragment: np.ndarray
    """(n,) uint64, ascending. 0, background, is among them if fragments were merged with it."""

    parent: np.ndarray
    """(n,) uint64, the fragment whose cluster took this one's; a root is its own parent."""

    score: np.ndarray
    """(n,) float64 in [0, 1], the statistic at that merge, 0 for a root; never rises from child to parent."""


def agglomerate(
    edges: np.ndarray,
    full: int,
    rules: MergeRules,
    nodes: np.ndarray | None = None,
    histograms: np.ndarray | None = None,
) -> Dendrogram:
    """The dendrogram of all merges that score above the stop of the rules.

    edges: EDGE in any order. full: the affinity that scores 1 (255 or 65535).
    nodes: (m,) uint64, fragments that may have no edge, in any order.
    histograms: HISTOGRAM of the same pairs, in any order, for all statistics but the mean.
    Raises BadInput for a statistic of waterz, an edge of a fragment with itself, and sums that are not exact in a
    float64.
    """
    edges = merge_edges([edges])
    bins = None if histograms is None else merge_histograms([histograms])
    fragment = unique([edges["u"], edges["v"], *([] if nodes is None else [nodes])])
    links, sums = columns(edges, fragment)
    sums, lists, unit = weigh(sums, full, rules.statistic, edges, bins)
    del edges, bins  # a third of the memory, which the merging needs
    merged = merge_all(EdgeColumns(links, sums, lists), np.zeros(len(fragment), np.bool_), unit, rules.stop)
    return Dendrogram(fragment, fragment[merged.parent], merged.score)


def columns(edges: np.ndarray, fragment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) uint32: the rows of both ends in columns 0 and 2, room for lists of edges beside them; (n, 2) uint64: the
    sum and the count. Raises BadInput for edges that cannot be."""
    if len(edges) > MOST:
        raise BadInput("edges", "more than one graph can hold", got=len(edges), wanted=f"at most {MOST}")
    if (edges["u"] == edges["v"]).any() or (edges["count"] == 0).any():
        raise BadInput("edges", "an edge joins a fragment with itself, or counts nothing")
    links, sums = np.empty((len(edges), 4), np.uint32), np.empty((len(edges), 2), np.uint64)
    for column, end in ((0, "u"), (2, "v")):
        links[:, column] = np.searchsorted(fragment, edges[end])
    sums[:, 0], sums[:, 1] = edges["sum"], edges["count"]
    return links, sums


def weigh(
    sums: np.ndarray, full: int, statistic: Statistic, pairs: np.ndarray, histograms: np.ndarray | None
) -> tuple[np.ndarray, Lists, float]:
    """What scores are made of: (n, 2) uint64 of quotients, the lists of bins, and the quotient that scores 1.

    sums: from `columns`. pairs: of the same edges, with fields u and v. Raises BadInput for sums that are not exact in
    a float64.
    """
    if statistic.of_waterz:
        raise BadInput("statistic", "is one by which only waterz merges", got=statistic)
    # Column by column, as a graph may be most of what memory holds.
    largest = max(sums[:, column].sum(dtype=np.float64) for column in (0, 1))
    if largest > 2.0**53 or (sums[:, 0] > sums[:, 1] * np.float64(full)).any():
        raise BadInput("edges", "sums are too large", wanted=f"at most {full} each, 2**53 in all")
    if not statistic.percent:
        return sums, no_lists(), float(full)
    if histograms is None:
        raise BadInput("histograms", f"are needed for {statistic}", got=None, wanted="those of the edges")
    lists = make_lists(pairs, histograms, statistic.percent)
    return weigh_lists(lists), lists, 1.0


def unique(columns: list[np.ndarray]) -> np.ndarray:
    """All ids of the columns, sorted, each once."""
    ids = np.concatenate([np.empty(0, np.uint64), *(_without_repeats(column) for column in columns)])
    ids.sort()
    return _without_repeats(ids)


def _without_repeats(ids: np.ndarray) -> np.ndarray:
    """The ids that differ from the one before."""
    distinct: np.ndarray = ids[np.r_[True, ids[1:] != ids[:-1]][: len(ids)]]
    return distinct


def cut(dendrogram: Dendrogram, threshold: float) -> np.ndarray:
    """The segment of each fragment, (n,) uint64: the smallest fragment it is merged with above `threshold`; 0 is none.

    Raises BadInput if the threshold is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise BadInput("threshold", "not a score", got=threshold, wanted="0 to 1")
    parent = np.searchsorted(dendrogram.fragment, dendrogram.parent)
    segment: np.ndarray = dendrogram.fragment[_climb(parent, dendrogram.score, threshold)]
    return segment


def in_order(dendrogram: Dendrogram) -> np.ndarray:
    """Rows of the fragments that are merged into another, best score first, of equal scores the last row first.

    So both clusters of every merge still have the names that the dendrogram gives them.
    """
    rows = np.flatnonzero(dendrogram.parent != dendrogram.fragment)
    ordered: np.ndarray = rows[falling_order(dendrogram.score[rows], dendrogram.fragment[rows])]
    return ordered


def falling_order(score: np.ndarray, child: np.ndarray) -> np.ndarray:
    """The order of merges: the best score first, of equal scores the larger child (uint64)."""
    order: np.ndarray = np.lexsort((np.iinfo(np.uint64).max - child, -score))
    return order


@compiled
def _climb(parent, score, threshold):
    """The ancestor of each row above the threshold; parents come first, so one pass is enough."""
    top = np.empty_like(parent)
    for row in range(len(parent)):
        top[row] = top[parent[row]] if score[row] > threshold else row
    return top
