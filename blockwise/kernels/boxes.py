"""The merges of a graph too large for memory, solved in boxes: the same as those of the whole graph at once.

A leaf holds edges as they were counted, so the edges of a fragment may lie in several leaves. In a box, fragments
with edges outside of it are frozen: they are not merged. When the best edge of a cluster leads to a frozen one, it
is frozen too, as its turn depends on what is outside. All other merges are between clusters that are each other's
best and whose edges are complete, so they are merges of the whole graph, and may come in any order. Edges between
frozen clusters go to the next larger box, with their place in the order of all edges: ties are broken by the
fragments that an edge joined at first, which is the order of the sorted edge list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from blockwise.kernels.agglomeration import Dendrogram, check_edges, check_rules, link, unique, weigh
from blockwise.kernels.edges import HISTOGRAM, merge_edges
from blockwise.kernels.histograms import merge_histograms, percent_of, unlist
from blockwise.kernels.lookup import DEAD
from blockwise.kernels.merging import Edges, merge_all
from blockwise.kernels.pairs import order_pairs

LINK = np.dtype([("u", "<u8"), ("v", "<u8"), ("sum", "<u8"), ("count", "<u8"), ("tie_u", "<u8"), ("tie_v", "<u8")])
"""An edge between clusters u < v, and the fragments of the worst of its edges, which decides ties."""

MERGE = np.dtype([("child", "<u8"), ("parent", "<u8"), ("score", "<f8")])
"""A row of a dendrogram that is not a root."""

Span = tuple[int, int]
"""A box: its first leaf, and the one after its last."""


class Rules(NamedTuple):
    """See `agglomerate`."""

    full: int
    statistic: str = "mean"
    stop: float = 0.0


@dataclass(frozen=True)
class Graph:
    """The edges of a box."""

    links: np.ndarray
    """LINK, sorted by ties, each pair once."""
    histograms: np.ndarray = field(default_factory=lambda: np.empty(0, HISTOGRAM))
    """HISTOGRAM of the same pairs; empty for the mean."""

    def ends(self) -> np.ndarray:
        """All clusters, sorted."""
        return unique([self.links["u"], self.links["v"]])


def leaf(edges: np.ndarray, histograms: np.ndarray | None = None) -> Graph:
    """The graph of a leaf. edges: EDGE in any order; histograms: HISTOGRAM, for all statistics but the mean."""
    edges = merge_edges([edges])
    links = np.empty(len(edges), LINK)
    for name in ("u", "v", "sum", "count"):
        links[name] = edges[name]
    links["tie_u"], links["tie_v"] = edges["u"], edges["v"]
    return Graph(links, merge_histograms([] if histograms is None else [histograms]))


def join(graphs: Sequence[Graph]) -> Graph:
    """The graph of a box from what its parts left over: equal pairs added, with the larger tie."""
    links = np.concatenate([np.empty(0, LINK), *(graph.links for graph in graphs)])
    links = links[_order(links, "tie_u", "tie_v")]
    links = links[_order(links, "u", "v")]
    last = np.r_[(links["u"][1:] != links["u"][:-1]) | (links["v"][1:] != links["v"][:-1]), True][: len(links)]
    joined, starts = links[last], np.flatnonzero(np.r_[True, last[:-1]][: len(links)])
    for name in ("sum", "count"):
        joined[name] = np.add.reduceat(links[name], starts) if len(starts) else 0
    return Graph(joined[_order(joined, "tie_u", "tie_v")], merge_histograms([graph.histograms for graph in graphs]))


def _order(links: np.ndarray, first: str, second: str) -> np.ndarray:
    return order_pairs(np.ascontiguousarray(links[first]), np.ascontiguousarray(links[second]))


def solve_box(graph: Graph, frozen: np.ndarray, rules: Rules) -> tuple[np.ndarray, Graph]:
    """The merges that can be told from within a box, and the edges between clusters that had to wait.

    frozen: (n,) bool, which of `graph.ends()` have edges outside of the box. Returns MERGE and the rest.
    """
    fragment, frozen = graph.ends(), frozen.copy()
    check_edges(graph.links, rules.full)
    links = link(graph.links, fragment)
    sums, lists, unit = weigh(graph.links, rules.full, rules.statistic, graph.histograms)
    merged = merge_all(Edges(links, sums, lists), frozen, unit, float(rules.stop))
    parent, score, smallest, (links, sums, lists), tau = merged
    gone = np.flatnonzero(parent != np.arange(len(parent)))
    merges = np.empty(len(gone), MERGE)
    merges["child"], merges["parent"], merges["score"] = fragment[gone], fragment[parent[gone]], score[gone]
    left = np.flatnonzero(links[:, 0] != DEAD)
    left = left[frozen[links[left, 0]] & frozen[links[left, 2]]]
    one, other = (fragment[smallest[links[left, column]]] for column in (0, 2))
    rest = np.empty(len(left), LINK)
    rest["u"], rest["v"] = np.minimum(one, other), np.maximum(one, other)
    is_mean = not percent_of(rules.statistic)
    rest["sum"], rest["count"] = sums[left].T if is_mean else (0, 1)
    rest["tie_u"], rest["tie_v"] = graph.links["tie_u"][tau[left]], graph.links["tie_v"][tau[left]]
    return merges, Graph(rest, unlist(lists, left, rest["u"], rest["v"]) if not is_mean else graph.histograms[:0])


@dataclass(frozen=True)
class Spread:
    """In which leaves each fragment has edges."""

    fragment: np.ndarray
    """(n,) uint64, sorted."""
    first: np.ndarray
    """(n,) uint32, the first leaf with an edge of it; the largest number if there is none."""
    last: np.ndarray
    """(n,) uint32, the last one; 0 if there is none."""

    def outside(self, fragments: np.ndarray, span: Span) -> np.ndarray:
        """Which of the fragments have edges outside of a box, bool."""
        row = np.searchsorted(self.fragment, fragments)
        frozen: np.ndarray = (self.first[row] < span[0]) | (self.last[row] >= span[1])
        return frozen


def spread(fragment: np.ndarray, parts: Iterable[tuple[int, np.ndarray]]) -> Spread:
    """Where the sorted fragments have edges; parts: (leaf, EDGE), each leaf once or more often."""
    first, last = np.full(len(fragment), 2**32 - 1, np.uint32), np.zeros(len(fragment), np.uint32)
    for place, edges in parts:
        row = np.searchsorted(fragment, unique([edges["u"], edges["v"]]))
        first[row], last[row] = np.minimum(first[row], place), np.maximum(last[row], place)
    return Spread(fragment, first, last)


class Shelf(Protocol):
    """Where the results of boxes are kept until the end."""

    def has(self, span: Span) -> bool:
        """Whether the box is solved."""

    def put(self, span: Span, merges: np.ndarray, rest: Graph) -> None:
        """Keep the results of a box; replaces."""

    def rest(self, span: Span) -> Graph:
        """The edges a box left over."""

    def drop_rest(self, span: Span) -> None:
        """Forget these edges, but not that the box is solved."""

    def merges(self, span: Span) -> np.ndarray:
        """The merges of a box."""


def solve_boxes(
    spans: Sequence[Span], load: Callable[[int], Graph], where: Spread, rules: Rules, shelf: Shelf
) -> Dendrogram:
    """The dendrogram of all merges, one box after the other.

    spans: all boxes, each after those within it; the last holds all leaves, those of one leaf are loaded.
    """
    check_rules(rules.statistic, rules.stop)
    waiting: list[Span] = []
    for span in spans:
        parts = [one for one in waiting if one[0] >= span[0]]
        waiting = [*waiting[: len(waiting) - len(parts)], span]
        if not shelf.has(span):
            graph = join([shelf.rest(part) for part in parts]) if parts else load(span[0])
            shelf.put(span, *solve_box(graph, where.outside(graph.ends(), span), rules))
        for part in parts:
            shelf.drop_rest(part)
    parent, score = where.fragment.copy(), np.zeros(len(where.fragment))
    for span in spans:
        merges = shelf.merges(span)
        row = np.searchsorted(where.fragment, merges["child"])
        parent[row], score[row] = merges["parent"], merges["score"]
    return Dendrogram(where.fragment, parent, score)


def halves(first: int, end: int) -> list[Span]:
    """The boxes of leaves `first` to `end`, cut in two again and again, each after those within it."""
    if end - first < 2:
        return [(first, end)]
    middle = (first + end) // 2
    return [*halves(first, middle), *halves(middle, end), (first, end)]
