"""The merges of a graph too large for memory, solved in boxes: the same as those of the whole graph at once.

A leaf holds edges as they were counted, so the edges of a fragment may lie in several leaves. In a box, fragments
that may have edges outside of it are frozen: they are not merged. When the best edge of a cluster leads to a frozen
one, it is frozen too, as its turn depends on what is outside. All other merges are between clusters that are each
other's best and whose edges are complete, so they are merges of the whole graph, and may come in any order. Edges
between frozen clusters go to the next larger box, with their place in the order of all edges: ties are broken by the
fragments that an edge joined at first, which is the order of the sorted edge list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from blockwise.kernels.components import PAIR
from blockwise.kernels.graph.agglomeration import Dendrogram, columns, unique, weigh
from blockwise.kernels.graph.edges import HISTOGRAM, merge_edges
from blockwise.kernels.graph.histograms import merge_histograms, unlist
from blockwise.kernels.graph.merging import EdgeColumns, Merged, merge_all
from blockwise.kernels.graph.rules import MergeRules
from blockwise.kernels.lookup import DEAD
from blockwise.kernels.pairs import merge_runs

LINK = np.dtype([("u", "<u4"), ("v", "<u4"), ("sum", "<u8"), ("count", "<u8"), ("tie_u", "<u8"), ("tie_v", "<u8")])
"""An edge between clusters u < v, by their rows, and the fragments of the worst of its edges, which decides ties."""

MERGE = np.dtype([("child", "<u8"), ("parent", "<u8"), ("score", "<f8")])
"""A row of a dendrogram that is not a root."""

WHERE = np.dtype([("fragment", "<u8"), ("first", "<u4"), ("last", "<u4")])
"""The first and the last leaf with edges of a fragment. A superset does no harm: what is frozen only waits longer."""

MOST = 8
"""Boxes that are joined at once, so that there are several to work on at the same time."""

Span = tuple[int, int]
"""A box: its first leaf, and the one after its last."""


@dataclass(frozen=True)
class Rest:
    """What a box left over: the edges between clusters that had to wait."""

    clusters: np.ndarray
    """(m,) uint64, those with an edge, sorted."""
    links: Iterable[np.ndarray]
    """LINK, sorted by ties, each pair once, in pieces: they are gone through more than once, and never held at once."""
    size: int
    """How many links there are."""
    histograms: np.ndarray
    """HISTOGRAM of the same pairs; empty for the mean."""
    where: np.ndarray
    """WHERE of the clusters with edges outside of the box, each a single fragment yet; sorted, each once."""


@dataclass(frozen=True)
class Graph:
    """The edges of a box, each pair once, in the order that breaks ties. A last box is the most that a process holds,
    so these are 32 bytes an edge and no names: who wants to know where an edge comes from asks `ties`."""

    clusters: np.ndarray
    """(m,) uint64, sorted."""
    links: np.ndarray
    """(n, 4) uint32, as in `lookup`, by rows of the clusters."""
    sums: np.ndarray
    """(n, 2) uint64, the sum of the affinities and how many."""
    ties: Callable[[np.ndarray], np.ndarray]
    """(rows,) to (rows, 2) uint64: the fragments that decide ties of some edges as they were at first."""
    where: np.ndarray
    """WHERE of the clusters with edges outside of one of the boxes within, sorted, each once."""
    histograms: np.ndarray = field(default_factory=lambda: np.empty(0, HISTOGRAM))
    """HISTOGRAM of the same pairs; empty for the mean."""

    def pairs(self) -> np.ndarray:
        """PAIR of the names of all edges, smaller ones first."""
        found = np.empty(len(self.links), PAIR)
        found["u"], found["v"] = self.clusters[self.links[:, 0]], self.clusters[self.links[:, 2]]
        return found


def leaf(edges: np.ndarray, where: np.ndarray, histograms: np.ndarray | None = None) -> Graph:
    """The graph of a leaf.

    edges: EDGE in any order. where: WHERE of the fragments in more than one leaf, sorted. histograms: HISTOGRAM in any
    order, for all statistics but the mean.
    """
    edges = merge_edges([edges])
    clusters = unique([edges["u"], edges["v"]])
    links, sums = columns(edges, clusters)
    ends = links[:, ::2].copy()
    bins = merge_histograms([] if histograms is None else [histograms])
    return Graph(clusters, links, sums, lambda rows: clusters[ends[rows]], where, bins)


def join(rests: Sequence[Rest]) -> Graph:
    """The graph of a box from what the smaller ones in it left over, equal pairs added.

    Both ends of a pair that several of them have are frozen in each, single fragments yet, so its ties are equal; and
    of no other pair are they, as an edge is a part of one link only.
    """
    clusters = unique([rest.clusters for rest in rests])
    place = merge_runs(_ties(rests), [rest.size for rest in rests])
    rows = int(place.max()) + 1 if len(place) else 0
    links, sums = np.empty((rows, 4), np.uint32), np.zeros((rows, 2), np.uint64)
    named = [np.searchsorted(clusters, rest.clusters).astype(np.uint32) for rest in rests]
    for number, some, to in _with_places(rests, place):
        links[to, 0], links[to, 2] = named[number][some["u"]], named[number][some["v"]]
        sums[to, 0] += some["sum"]
        sums[to, 1] += some["count"]
    where = np.concatenate([np.empty(0, WHERE), *(rest.where for rest in rests)])
    where = where[np.unique(where["fragment"], return_index=True)[1]]
    bins = merge_histograms([rest.histograms for rest in rests])

    def ties(chosen: np.ndarray) -> np.ndarray:
        wanted, found = np.full(rows, DEAD, np.uint32), np.empty((len(chosen), 2), np.uint64)
        wanted[chosen] = np.arange(len(chosen))
        for _, some, to in _with_places(rests, place):
            is_wanted = wanted[to] != DEAD
            for column, tie in enumerate(("tie_u", "tie_v")):
                found[wanted[to[is_wanted]], column] = some[tie][is_wanted]
        return found

    return Graph(clusters, links, sums, ties, where, bins)


def _ties(rests: Sequence[Rest]) -> np.ndarray:
    """(n, 2) uint64: the ties of all links, one box after the other."""
    found = np.empty((sum(rest.size for rest in rests), 2), np.uint64)
    for _, some, to in _with_places(rests, found):
        to[:, 0], to[:, 1] = some["tie_u"], some["tie_v"]
    return found


def _with_places(rests: Sequence[Rest], rows: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each piece of links with the number of the box that it is from, and its share of `rows`, one for each link."""
    at = 0
    for number, rest in enumerate(rests):
        for some in rest.links:
            yield number, some, rows[at : at + len(some)]
            at += len(some)


def outside(where: np.ndarray, span: Span) -> np.ndarray:
    """Which fragments of a WHERE have edges outside of a box, bool."""
    found: np.ndarray = (where["first"] < span[0]) | (where["last"] >= span[1])
    return found


def solve_box(graph: Graph, span: Span, full: int, rules: MergeRules) -> tuple[np.ndarray, Rest]:
    """The merges that can be told from within a box, as MERGE, and the edges between clusters that had to wait.

    graph: its links and sums are overwritten. full: the affinity that scores 1.
    """
    clusters, where = graph.clusters, graph.where[outside(graph.where, span)]
    # An edge outside of the box may be the best that such a fragment has: it must not be merged in here.
    frozen = np.isin(clusters, where["fragment"], kind="sort")
    is_mean = not rules.statistic.percent
    pairs = np.empty(0, PAIR) if is_mean else graph.pairs()
    sums, lists, unit = weigh(graph.sums, full, rules.statistic, pairs, graph.histograms)
    # Freezing spreads while edges are merged: a cluster whose best edge leads to a frozen one waits for it.
    merged = merge_all(EdgeColumns(graph.links, sums, lists), frozen, unit, rules.stop)
    # Merges are named by fragments, the smallest of each cluster, so that those of all boxes are put together as they
    # are.
    gone = np.flatnonzero(merged.parent != np.arange(len(merged.parent)))
    merges = np.empty(len(gone), MERGE)
    merges["child"] = clusters[gone]
    merges["parent"] = clusters[merged.parent[gone]]
    merges["score"] = merged.score[gone]
    return merges, _left_over(graph, merged, frozen, where, is_mean)


def _left_over(graph: Graph, merged: Merged, frozen: np.ndarray, where: np.ndarray, is_mean: bool) -> Rest:
    """The edges between clusters that had to wait."""
    links, sums, lists = merged.edges
    # An edge with an end that is not frozen scores too little, else it would have been merged or have frozen that end.
    # All edges of that end are in here, so it never will score more, and is left behind.
    left = np.flatnonzero(links[:, 0] != DEAD)
    left = left[frozen[links[left, 0]] & frozen[links[left, 2]]]
    # In the larger box ties are to be broken as in the whole graph: by the row that decides them in here.
    turn = np.full(len(graph.links), DEAD, np.uint32)
    turn[merged.tau[left]] = left
    tied = np.flatnonzero(turn != DEAD)
    rows = turn[tied]
    del turn, left
    # The next box meets these clusters in graphs of other boxes, under the names of their smallest fragments.
    is_handed_on = np.zeros(len(graph.clusters), np.bool_)
    for column in (0, 2):
        is_handed_on[merged.smallest[links[rows, column]]] = True
    clusters, row = graph.clusters[is_handed_on], np.cumsum(is_handed_on, dtype=np.uint32) - np.uint32(1)
    one, other = (row[merged.smallest[links[rows, column]]] for column in (0, 2))
    rest = np.empty(len(rows), LINK)
    rest["u"], rest["v"] = np.minimum(one, other), np.maximum(one, other)
    # Statistics other than the mean cannot be told from a sum: their histograms go along, and the sum says nothing.
    rest["sum"], rest["count"] = sums[rows].T if is_mean else (0, 1)
    if len(rows):  # a last box need not read its edges again
        rest["tie_u"], rest["tie_v"] = graph.ties(tied).T
    bins = graph.histograms[:0] if is_mean else unlist(lists, rows, clusters[rest["u"]], clusters[rest["v"]])
    return Rest(clusters, [rest], len(rest), bins, where)


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
