"""The merges of a graph too large for memory, solved in boxes: the same as those of the whole graph at once.

A leaf holds edges as they were counted, so the edges of a fragment may lie in several leaves. In a box, fragments
that may have edges outside of it are frozen: they are not merged. When the best edge of a cluster leads to a frozen
one, it is frozen too, as its turn depends on what is outside. All other merges are between clusters that are each
other's best and whose edges are complete, so they are merges of the whole graph, and may come in any order. Edges
between frozen clusters go to the next larger box, with their place in the order of all edges: ties are broken by the
fragments that an edge joined at first, which is the order of the sorted edge list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from blockwise.kernels.graph.agglomeration import Dendrogram, check_edges, link, unique, weigh
from blockwise.kernels.graph.edges import HISTOGRAM, merge_edges
from blockwise.kernels.graph.histograms import merge_histograms, unlist
from blockwise.kernels.graph.merging import EdgeColumns, merge_all
from blockwise.kernels.graph.rules import MergeRules
from blockwise.kernels.lookup import DEAD
from blockwise.kernels.pairs import order_pairs

LINK = np.dtype([("u", "<u8"), ("v", "<u8"), ("sum", "<u8"), ("count", "<u8"), ("tie_u", "<u8"), ("tie_v", "<u8")])
"""An edge between clusters u < v, and the fragments of the worst of its edges, which decides ties."""

MERGE = np.dtype([("child", "<u8"), ("parent", "<u8"), ("score", "<f8")])
"""A row of a dendrogram that is not a root."""

WHERE = np.dtype([("fragment", "<u8"), ("first", "<u4"), ("last", "<u4")])
"""The first and the last leaf with edges of a fragment. A superset does no harm: what is frozen only waits longer."""

MOST = 8
"""Boxes that are joined at once, so that there are several to work on at the same time."""

Span = tuple[int, int]
"""A box: its first leaf, and the one after its last."""


@dataclass(frozen=True)
class Graph:
    """The edges of a box."""

    links: np.ndarray
    """LINK, sorted by ties, each pair once."""
    histograms: np.ndarray = field(default_factory=lambda: np.empty(0, HISTOGRAM))
    """HISTOGRAM of the same pairs; empty for the mean."""
    where: np.ndarray = field(default_factory=lambda: np.empty(0, WHERE))
    """WHERE of the clusters with edges outside of the box, each a single fragment yet; sorted, each once."""

    def ends(self) -> np.ndarray:
        """All clusters, sorted."""
        return unique([self.links["u"], self.links["v"]])


def leaf(edges: np.ndarray, where: np.ndarray, histograms: np.ndarray | None = None) -> Graph:
    """The graph of a leaf.

    edges: EDGE in any order. where: WHERE of the fragments in more than one leaf, sorted. histograms: HISTOGRAM in any
    order, for all statistics but the mean.
    """
    edges = merge_edges([edges])
    links = np.empty(len(edges), LINK)
    for name in ("u", "v", "sum", "count"):
        links[name] = edges[name]
    links["tie_u"], links["tie_v"] = edges["u"], edges["v"]
    return Graph(links, merge_histograms([] if histograms is None else [histograms]), where)


def join(graphs: Sequence[Graph]) -> Graph:
    """The graph of a box from what the smaller ones in it left over, equal pairs added.

    Both ends of a pair that several of them have are frozen in each, single fragments yet, so its ties are equal.
    """
    links = np.concatenate([np.empty(0, LINK), *(graph.links for graph in graphs)])
    links = links[_order(links, "u", "v")]
    starts = np.flatnonzero(
        np.r_[True, (links["u"][1:] != links["u"][:-1]) | (links["v"][1:] != links["v"][:-1])][: len(links)]
    )
    joined = links[starts]
    for name in ("sum", "count"):
        joined[name] = np.add.reduceat(links[name], starts) if len(starts) else 0
    where = np.concatenate([np.empty(0, WHERE), *(graph.where for graph in graphs)])
    where = where[np.unique(where["fragment"], return_index=True)[1]]
    histograms = merge_histograms([graph.histograms for graph in graphs])
    return Graph(joined[_order(joined, "tie_u", "tie_v")], histograms, where)


def _order(links: np.ndarray, first: str, second: str) -> np.ndarray:
    return order_pairs(np.ascontiguousarray(links[first]), np.ascontiguousarray(links[second]))


def outside(where: np.ndarray, span: Span) -> np.ndarray:
    """Which fragments of a WHERE have edges outside of a box, bool."""
    found: np.ndarray = (where["first"] < span[0]) | (where["last"] >= span[1])
    return found


def solve_box(graph: Graph, span: Span, full: int, rules: MergeRules) -> tuple[np.ndarray, Graph]:
    """The merges that can be told from within a box, as MERGE, and the edges between clusters that had to wait.

    full: the affinity that scores 1.
    """
    fragment, where = graph.ends(), graph.where[outside(graph.where, span)]
    # An edge outside of the box may be the best that such a fragment has: it must not be merged in here.
    frozen = np.isin(fragment, where["fragment"], kind="sort")
    check_edges(graph.links, full)
    links = link(graph.links, fragment)
    sums, lists, unit = weigh(graph.links, full, rules.statistic, graph.histograms)
    # Freezing spreads while edges are merged: a cluster whose best edge leads to a frozen one waits for it.
    merged = merge_all(EdgeColumns(links, sums, lists), frozen, unit, rules.stop)
    parent, score, smallest, (links, sums, lists), tau = merged
    # Merges are named by fragments, the smallest of each cluster, so that those of all boxes are put together as they
    # are.
    gone = np.flatnonzero(parent != np.arange(len(parent)))
    merges = np.empty(len(gone), MERGE)
    merges["child"] = fragment[gone]
    merges["parent"] = fragment[parent[gone]]
    merges["score"] = score[gone]
    # An edge with an end that is not frozen scores too little, else it would have been merged or have frozen that end.
    # All edges of that end are in here, so it never will score more, and is left behind.
    left = np.flatnonzero(links[:, 0] != DEAD)
    left = left[frozen[links[left, 0]] & frozen[links[left, 2]]]
    # The next box meets these clusters in graphs of other boxes, under the names of their smallest fragments.
    one, other = (fragment[smallest[links[left, column]]] for column in (0, 2))
    rest = np.empty(len(left), LINK)
    rest["u"], rest["v"] = np.minimum(one, other), np.maximum(one, other)
    is_mean = not rules.statistic.percent
    # Statistics other than the mean cannot be told from a sum: their histograms go along, and the sum says nothing.
    rest["sum"], rest["count"] = sums[left].T if is_mean else (0, 1)
    # In the larger box ties are to be broken as in the whole graph: by the row that decides them in here.
    rest["tie_u"] = graph.links["tie_u"][tau[left]]
    rest["tie_v"] = graph.links["tie_v"][tau[left]]
    bins = graph.histograms[:0] if is_mean else unlist(lists, left, rest["u"], rest["v"])
    return merges, Graph(rest, bins, where)


def assemble(fragment: np.ndarray, solved: Iterable[np.ndarray]) -> Dendrogram:
    """The dendrogram of the merges of all boxes. fragment: all fragments, sorted. solved: MERGE of each box."""
    parent, score = fragment.copy(), np.zeros(len(fragment))
    for merges in solved:
        row = np.searchsorted(fragment, merges["child"])
        parent[row], score[row] = merges["parent"], merges["score"]
    return Dendrogram(fragment, parent, score)


def tree_within(merges: np.ndarray) -> Dendrogram:
    """The dendrogram of the clusters that a box's own merges name. merges: MERGE, in any order."""
    return assemble(unique([merges["child"], np.sort(merges["parent"])]), [merges])


def disassemble(tree: Dendrogram) -> np.ndarray:
    """The inverse of `assemble`: MERGE of a dendrogram, by child."""
    rows = np.flatnonzero(tree.parent != tree.fragment)
    merges = np.empty(len(rows), MERGE)
    merges["child"], merges["parent"], merges["score"] = tree.fragment[rows], tree.parent[rows], tree.score[rows]
    return merges


def group(waiting: Sequence[Span], needs: Sequence[int], spans: Sequence[Span], limit: int) -> list[list[int]]:
    """Which of the boxes that wait are joined next: their places, for each larger box.

    waiting: disjoint boxes, in the order of leaves. needs: what the rest of each takes, in the unit of `limit`.
    spans: all boxes that may be formed, nested, each after those within it. The largest ones of up to MOST boxes within
    the limit are taken; if none is within it, those of the fewest boxes.
    """
    inside = [[at for at, one in enumerate(waiting) if one[0] >= span[0] and one[1] <= span[1]] for span in spans]
    formed = [places for places in reversed(inside) if len(places) > 1]
    fitting = [some for some in formed if len(some) <= MOST and sum(needs[at] for at in some) <= limit]
    taken: set[int] = set()
    groups = []
    for places in fitting or [some for some in formed if len(some) == min(map(len, formed))]:
        if taken.isdisjoint(places):
            taken.update(places)
            groups.append(places)
    return sorted(groups)
