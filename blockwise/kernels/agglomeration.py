# mypy: allow-untyped-defs
"""Merge fragments best edge first, in an order that is a function of the edges alone.

The key of an edge is (statistic, -tau): tau is its row in the sorted edge list, and an edge made of two keeps
the larger (worse) tau. The statistic is the quotient of two integers, rounded once as IEEE 754 demands: equal
quotients are equal numbers on every machine, and rounding is monotone, so an edge made of two is never better
than both. Hence mutually best merges commute, and any order of rows gives the same dendrogram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockwise.errors import BadInput
from blockwise.kernels.compiled import compiled
from blockwise.kernels.edges import merge_edges
from blockwise.kernels.heap import drop_top, heapify, replace_top
from blockwise.kernels.lookup import FREE, MOST, clean, empty_slots, find, insert, remove

STATISTICS = ("mean",)
"""What edges can be scored by; all of them merge in the same order however the graph is cut up."""

DEAD = FREE
"""The first end of an edge that is no more."""


@dataclass(frozen=True)
class Dendrogram:
    """Which fragment each one was merged into, and at which score.

    A cluster is called by its smallest fragment, so a parent is smaller than its children.
    """

    fragment: np.ndarray
    """(n,) uint64, ascending."""

    parent: np.ndarray
    """(n,) uint64, the fragment whose cluster took this one's; a root is its own parent."""

    score: np.ndarray
    """(n,) float64 in [0, 1], the statistic at that merge, 0 for a root; never rises from child to parent."""


def agglomerate(
    edges: np.ndarray, full: int, statistic: str = "mean", stop: float = 0.0, nodes: np.ndarray | None = None
) -> Dendrogram:
    """The dendrogram of all merges that score above `stop`.

    edges: EDGE in any order. full: the affinity that scores 1 (255 or 65535). stop: in [0, 1].
    nodes: (m,) uint64, fragments that may have no edge, in any order.
    Raises BadInput for an unknown statistic, a stop outside [0, 1], an edge of a fragment with itself, and
    sums that are not exact in a float64.
    """
    if statistic not in STATISTICS:
        raise BadInput("statistic", "unknown", got=statistic, wanted=" or ".join(STATISTICS))
    if not 0 <= stop <= 1:
        raise BadInput("stop", "not a score", got=stop, wanted="0 to 1")
    edges = merge_edges([edges])
    _check(edges, full)
    ends = [edges["u"], edges["v"]] if nodes is None else [edges["u"], edges["v"], nodes]
    fragment = _unique(ends)
    first = np.searchsorted(fragment, edges["u"]).astype(np.uint32)
    second = np.searchsorted(fragment, edges["v"]).astype(np.uint32)
    total, count = edges["sum"].astype(np.uint64), edges["count"].astype(np.uint64)
    parent, score = _merge_all(first, second, total, count, len(fragment), float(full), float(stop))
    return Dendrogram(fragment, fragment[parent], score)


def _unique(parts: list[np.ndarray]) -> np.ndarray:
    ids = np.concatenate(parts).astype(np.uint64)
    ids.sort()
    distinct: np.ndarray = ids[np.r_[True, ids[1:] != ids[:-1]][: len(ids)]]
    return distinct


def _check(edges: np.ndarray, full: int) -> None:
    if len(edges) > MOST:
        raise BadInput("edges", "more than one graph can hold", got=len(edges), wanted=f"at most {MOST}")
    if (edges["u"] == edges["v"]).any() or (edges["count"] == 0).any():
        raise BadInput("edges", "an edge joins a fragment with itself, or counts nothing")
    largest = max(edges[name].sum(dtype=np.float64) for name in ("sum", "count"))
    if largest > 2.0**53 or (edges["sum"] > edges["count"] * np.float64(full)).any():
        raise BadInput("edges", "sums are too large", wanted=f"at most {full} each, 2**53 in all")


def cut(dendrogram: Dendrogram, threshold: float) -> np.ndarray:
    """The segment of each fragment, (n,) uint64: the smallest fragment it is merged with above `threshold`.

    Raises BadInput if the threshold is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise BadInput("threshold", "not a score", got=threshold, wanted="0 to 1")
    parent = np.searchsorted(dendrogram.fragment, dendrogram.parent)
    segment: np.ndarray = dendrogram.fragment[_climb(parent, dendrogram.score, threshold)]
    return segment


@compiled
def _climb(parent, score, threshold):
    """The ancestor of each row above the threshold; parents come first, so one pass is enough."""
    top = np.empty_like(parent)
    for row in range(len(parent)):
        top[row] = top[parent[row]] if score[row] > threshold else row
    return top


@compiled
def _chain(first, second, nodes):
    """Incidence lists: heads and lengths for each node, and the next half-edge (2 edge + end) of each."""
    head, degree = np.full(nodes, FREE, np.uint32), np.zeros(nodes, np.uint32)
    following = np.empty(2 * len(first), np.uint32)
    for edge in range(len(first) - 1, -1, -1):
        for half, node in ((2 * edge, first[edge]), (2 * edge + 1, second[edge])):
            following[half] = head[node]
            head[node] = half
            degree[node] += np.uint32(1)
    return head, degree, following


@compiled
def _take(edge, half, kept, graph):
    """Make `kept` the end of an edge at one of its halves, and put the half into its list."""
    first, second, head, following = graph[0], graph[1], graph[5], graph[6]
    if half & np.uint32(1):
        second[edge] = kept
    else:
        first[edge] = kept
    following[half] = head[kept]
    head[kept] = half


@compiled
def _add(edge, rival, graph):
    """Add two edges between the same clusters; returns the one that lives on.

    That is the better one: the score it has in the heap is a bound of the sum's.
    """
    total, count, tau = graph[2], graph[3], graph[4]
    better = total[edge] / count[edge] > total[rival] / count[rival]
    alive, dead = (edge, rival) if better else (rival, edge)
    total[alive] += total[dead]
    count[alive] += count[dead]
    tau[alive] = max(tau[alive], tau[dead])
    graph[0][dead] = DEAD
    return alive


@compiled
def _absorb(gone, kept, graph, slots, degree):
    """Hand all edges of cluster `gone` to cluster `kept`; returns how many more slots are in use."""
    first, second, head, following = graph[0], graph[1], graph[5], graph[6]
    half, used = head[gone], 0
    while half != FREE:
        after, edge = following[half], half >> np.uint32(1)
        if first[edge] != DEAD:
            other = first[edge] if half & np.uint32(1) else second[edge]
            used -= remove(slots, find(slots, first, second, gone, other))
            slot = find(slots, first, second, kept, other)
            if slot < 0:
                _take(edge, half, kept, graph)
                used += insert(slots, kept, other, edge)
                degree[kept] += np.uint32(1)
            else:
                degree[other] -= np.uint32(1)
                alive = _add(edge, slots[slot], graph)
                if alive == edge:
                    _take(edge, half, kept, graph)
                    slots[slot] = edge
        half = after
    head[gone] = FREE
    return used


@compiled
def _merge_along(edge, graph, slots, degree):
    """Merge the clusters of an edge; returns the one kept, the one gone, and the slots used up."""
    first, second = graph[0], graph[1]
    kept, gone = first[edge], second[edge]
    if degree[kept] < degree[gone]:
        kept, gone = gone, kept
    freed = remove(slots, find(slots, first, second, kept, gone))
    first[edge] = DEAD
    degree[kept] -= np.uint32(1)
    return kept, gone, _absorb(gone, kept, graph, slots, degree) - freed


@compiled
def _fill(first, second, total, count, full, stop):
    """The heap of all edges above `stop`, and the slots of all edges."""
    edges = len(first)
    scores = np.empty(edges, np.float64)
    ties, entries = np.empty(edges, np.uint32), np.empty(edges, np.uint32)
    slots, size = empty_slots(edges), 0
    for edge in range(edges):
        insert(slots, first[edge], second[edge], edge)
        score = total[edge] / count[edge] / full
        if score > stop:
            scores[size], ties[size], entries[size] = score, edge, edge
            size += 1
    heapify(scores, ties, entries, size)
    return scores, ties, entries, size, slots


@compiled
def _merge_all(first, second, total, count, nodes, full, stop):
    """Parents (rows) and scores of the nodes; the columns of the edges are used up."""
    head, degree, following = _chain(first, second, nodes)
    tau = np.arange(len(first)).astype(np.uint32)
    graph = (first, second, total, count, tau, head, following)
    scores, ties, entries, size, slots = _fill(first, second, total, count, full, stop)
    parent, height, smallest = np.arange(nodes), np.zeros(nodes), np.arange(nodes)
    used = len(first)
    while size:
        edge = entries[0]
        score = total[edge] / count[edge] / full
        if first[edge] == DEAD or score <= stop:
            size = drop_top(scores, ties, entries, size)
        elif score != scores[0] or tau[edge] != ties[0]:
            replace_top(scores, ties, entries, size, score, tau[edge], edge)
        else:
            size = drop_top(scores, ties, entries, size)
            kept, gone, more = _merge_along(edge, graph, slots, degree)
            child, ancestor = max(smallest[kept], smallest[gone]), min(smallest[kept], smallest[gone])
            parent[child], height[child], smallest[kept] = ancestor, score, ancestor
            used += more
            if 5 * used > 4 * len(slots):
                used = clean(slots, first, second)
    return parent, height
