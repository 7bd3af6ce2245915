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
from blockwise.kernels.heap import drop_top, is_ahead, push, replace_top, tag, untag
from blockwise.kernels.lookup import DEAD, MOST, empty_slots, find, insert, is_crowded, refill
from blockwise.kernels.pairs import order_keys

STATISTICS = ("mean",)
"""What edges can be scored by; all of them merge in the same order however the graph is cut up."""


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
    links = np.empty((len(edges), 4), np.uint32)
    for column, end in ((0, "u"), (2, "v")):
        links[:, column] = np.searchsorted(fragment, edges[end])
    sums = np.stack([edges["sum"], edges["count"].astype(np.uint64)], 1)
    order, bounds = _queue(sums, full, stop)
    parent, score = _merge_all(links, sums, order, bounds, len(fragment), float(full), float(stop))
    return Dendrogram(fragment, fragment[parent], score)


def _queue(sums: np.ndarray, full: int, stop: float) -> tuple[np.ndarray, np.ndarray]:
    """The edges that score above `stop` (uint32), best first, ties in their order, and their scores."""
    scores = sums[:, 0] / sums[:, 1] / full
    # Positive numbers in [0, 1] are ordered as their bits are.
    order = order_keys(~scores.view(np.uint64))[: np.count_nonzero(scores > stop)]
    return order.astype(np.uint32), scores[order]


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
def _chain(links, nodes):
    """Fill the lists of edges at each node into columns 1 and 3 of the links; returns their heads and lengths.

    A list holds half-edges: 2 edge for the first end of an edge, 2 edge + 1 for the second.
    """
    head, length = np.full(nodes, DEAD, np.uint32), np.zeros(nodes, np.uint32)
    for edge in range(len(links) - 1, -1, -1):
        for side in (1, 0):
            node = links[edge, 2 * side]
            links[edge, 2 * side + 1], head[node] = head[node], 2 * edge + side
            length[node] += np.uint32(1)
    return head, length


@compiled
def _add(edge, rival, links, sums, tau):
    """Add two edges between the same clusters; returns the one that lives on.

    That is the better one: the score it has in the heap is a bound of the sum's.
    """
    better = sums[edge, 0] / sums[edge, 1] > sums[rival, 0] / sums[rival, 1]
    alive, dead = (edge, rival) if better else (rival, edge)
    sums[alive, 0] += sums[dead, 0]
    sums[alive, 1] += sums[dead, 1]
    tau[alive] = max(tau[alive], tau[dead])
    links[dead, 0] = DEAD
    return alive


@compiled
def _absorb(gone, kept, graph, slots):
    """Hand all edges of cluster `gone` to cluster `kept`; returns the slots used up."""
    links, sums, tau, head, length = graph
    half, used = head[gone], 0
    while half != DEAD:
        edge, column = half >> np.uint32(1), 2 * np.int64(half & np.uint32(1))
        after = links[edge, column + 1]
        if links[edge, 0] != DEAD:
            other = links[edge, 2 - column]
            slot = find(slots, links, kept, other)
            if slot < 0:
                insert(slots, kept, other, edge)
                used += 1
                alive = edge
            else:
                alive = _add(edge, slots[1][slot], links, sums, tau)
                slots[1][slot] = alive
            if alive == edge:
                links[edge, column] = kept
                links[edge, column + 1], head[kept] = head[kept], half
                length[kept] += np.uint32(1)
        half = after
    return used


@compiled
def _merge_along(edge, graph, slots):
    """Merge the two clusters of an edge; returns the one kept, the one gone, and the slots used up.

    The shorter list is walked; it may hold edges that are dead, but those are met only once.
    """
    links, length = graph[0], graph[4]
    kept, gone = links[edge, 0], links[edge, 2]
    if length[kept] < length[gone]:
        kept, gone = gone, kept
    links[edge, 0] = DEAD
    return kept, gone, _absorb(gone, kept, graph, slots)


@compiled
def _record(child, other, score, merges):
    """Note a merge of two clusters, whose smallest fragments are given, and return the smaller one."""
    parent, height = merges
    child, ancestor = max(child, other), min(child, other)
    parent[child], height[child] = ancestor, score
    return ancestor


@compiled
def _merge_all(links, sums, order, bounds, nodes, full, stop):
    """Parents (rows) and scores of the nodes; the columns of the edges are used up.

    The best edge is the first of `order`, or of a heap of those that turned out worse than they began.
    """
    tau = np.arange(len(sums)).astype(np.uint32)
    graph, slots = (links, sums, tau, *_chain(links, nodes)), empty_slots(len(sums))
    used, smallest, merges = refill(slots, links), np.arange(nodes), (np.arange(nodes), np.zeros(nodes))
    scores, tags, size, next_edge = np.empty(1024), np.empty(1024, np.uint64), 0, 0
    while size or next_edge < len(order):
        queued = next_edge < len(order)
        if queued:
            edge = order[next_edge]
            tie, bound, mark = edge, bounds[next_edge], tag(edge, edge)
        if not queued or (size and is_ahead(scores[0], tags[0], bound, mark)):
            queued, bound = False, scores[0]
            tie, edge = untag(tags[0])
        score = sums[edge, 0] / sums[edge, 1] / full
        alive = links[edge, 0] != DEAD and score > stop
        again = alive and (score != bound or tau[edge] != tie)
        if again and not queued:
            replace_top(scores, tags, size, score, tag(tau[edge], edge))
        elif not queued:
            size = drop_top(scores, tags, size)
        elif again:
            scores, tags, size = push(scores, tags, size, score, tag(tau[edge], edge))
        next_edge += queued
        if alive and not again:
            kept, gone, more = _merge_along(edge, graph, slots)
            smallest[kept] = _record(smallest[kept], smallest[gone], score, merges)
            used += more
            if is_crowded(slots, used):
                used = refill(slots, links)
    return merges
