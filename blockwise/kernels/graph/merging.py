# mypy: allow-untyped-defs
"""Merge clusters best edge first: by chains of neighbours where clusters have few edges, then from a queue of all.

The queue is a heap on top of a list sorted once; to look up the edge between two clusters there is a hash.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.graph.chains import merge_chains
from blockwise.kernels.graph.heap import drop_top, is_ahead, push, replace_top, tag, untag
from blockwise.kernels.graph.histograms import Lists
from blockwise.kernels.graph.incidence import add_edge, list_edges, record, split
from blockwise.kernels.lookup import DEAD, empty_slots, find, insert, is_crowded, refill
from blockwise.kernels.pairs import order_keys

MOST_EDGES = 256
"""Clusters with more wait for the queue. The result does not depend on it; 256 to 1024 are equally fast, 64 is not."""


class EdgeColumns(NamedTuple):
    """The columns of edges, see `incidence`."""

    links: np.ndarray
    """(n, 4) uint32."""
    sums: np.ndarray
    """(n, 2) uint64."""
    lists: Lists


class Merged(NamedTuple):
    """What came of it."""

    parent: np.ndarray
    """(nodes,) int64: for the smallest node of a cluster that was merged that of the other one, else the node."""
    score: np.ndarray
    """(nodes,) float64, of that merge."""
    smallest: np.ndarray
    """(nodes,) int64, the smallest node of the cluster called so in `edges`."""
    edges: EdgeColumns
    """Those left, and DEAD ones."""
    tau: np.ndarray
    """(edges,) uint32: of the rows that each edge was made of, the last one, numbered as at first."""


def merge_all(edges: EdgeColumns, frozen: np.ndarray, full: float, stop: float) -> Merged:
    """Merge clusters whose edge scores above the stop, best edge first, but no frozen ones.

    edges:  overwritten. full: the quotient that scores 1.
    frozen: (nodes,) bool: clusters with edges elsewhere. Afterwards also those whose best edge led to one.
    """
    nodes = len(frozen)
    smallest, merges = np.arange(nodes), (np.arange(nodes), np.zeros(nodes))
    merge_chains(*edges, frozen.copy(), MOST_EDGES, (full, stop), smallest, merges)
    rows = np.empty(np.count_nonzero(edges.links[:, 0] != DEAD), np.uint32)
    _pack(*edges, rows)
    edges = front(edges, len(rows))
    order, bounds = queue(edges.sums, full, stop)
    tau = merge_queue(*edges, order, bounds, frozen, (full, stop), smallest, merges)
    return Merged(*merges, smallest, edges, rows[tau])


@compiled
def _pack(links, sums, lists, rows):
    """Move the rows that live to the front, in their order, and write where they were into `rows` (uint32)."""
    size = 0
    for row in range(len(links)):
        if links[row, 0] != DEAD:
            rows[size] = row
            links[size] = links[row]
            sums[size] = sums[row]
            if len(lists[0]):
                lists[0][size] = lists[0][row]
            size += 1


def front(edges: EdgeColumns, rows: int) -> EdgeColumns:
    """So many of the edges."""
    first, after, bins, counts, percent = edges.lists
    return EdgeColumns(edges.links[:rows], edges.sums[:rows], (first[:rows], after, bins, counts, percent))


def queue(sums: np.ndarray, full: float, stop: float) -> tuple[np.ndarray, np.ndarray]:
    """The edges that score above `stop` (uint32), best first, ties in their order, and their scores."""
    scores = sums[:, 0] / sums[:, 1] / full
    # Positive numbers in [0, 1] are ordered as their bits are.
    order = order_keys(~scores.view(np.uint64))[: np.count_nonzero(scores > stop)]
    return order.astype(np.uint32), scores[order]


@compiled
def _absorb(gone, kept, graph, tau, slots):
    """Hand all edges of cluster `gone` to cluster `kept`; returns the slots used up.

    Of two edges to one neighbour the better one lives on: the score it has in the heap is a bound of the sum's.
    """
    links, sums, lists, head, length = graph
    half, used = head[gone], 0
    while half != DEAD:
        edge, column = split(half)
        this, half = half, links[edge, column + 1]
        if links[edge, 0] == DEAD:
            continue
        other = links[edge, 2 - column]
        # The hash tells in one step whether `kept` has this neighbour too; its own list may be long.
        slot, alive = find(slots, links, kept, other), edge
        if slot < 0:
            insert(slots, kept, other, edge)
            used += 1
        else:
            rival = np.int64(slots[1][slot])
            # The sum of two edges scores between them: if the better one lives on, none scores more than it waits with
            # in the queue, which need not be told now and finds out when the edge comes up.
            if not sums[edge, 0] / sums[edge, 1] > sums[rival, 0] / sums[rival, 1]:
                alive = rival
            add_edge(alive, edge + rival - alive, links, sums, lists)
            # As in `chains`, the later row decides ties, whichever of the two lives on.
            tau[alive] = max(tau[edge], tau[rival])
            slots[1][slot] = alive
        # A row from the list of `gone` that lives on moves to that of `kept`, by rewriting links: nothing is allocated.
        if alive == edge:
            links[edge, column] = kept
            links[edge, column + 1], head[kept] = head[kept], this
            length[kept] += np.uint32(1)
    return used


@compiled
def _merge_along(edge, graph, tau, slots):
    """Merge the two clusters of an edge; returns the one kept, the one gone, and the slots used up.

    The shorter list is walked; it may hold edges that are dead, but those are met only once.
    """
    links, length = graph[0], graph[4]
    kept, gone = links[edge, 0], links[edge, 2]
    if length[kept] < length[gone]:
        kept, gone = gone, kept
    links[edge, 0] = DEAD
    return kept, gone, _absorb(gone, kept, graph, tau, slots)


@compiled
def _next_best(order, bounds, next_edge, scores, tags, size):
    """The edge to look at next, its tie, the score it waits with, and whether it comes from `order`."""
    queued = next_edge < len(order)
    if queued:
        edge = order[next_edge]
        tie = edge
        bound = bounds[next_edge]
        mark = tag(edge, edge)
    if not queued or (size and is_ahead(scores[0], tags[0], bound, mark)):
        queued, bound = False, scores[0]
        tie, edge = untag(tags[0])
    return edge, tie, bound, queued


@compiled
def merge_queue(links, sums, lists, order, bounds, frozen, limits, smallest, merges):
    """Merge all clusters that are left; order, bounds: from `queue`. Returns the tau of each edge.

    The best edge is the first of `order`, or of a heap of those that turned out worse than they began.
    """
    full = limits[0]
    stop = limits[1]
    nodes = len(frozen)
    tau = np.arange(len(sums)).astype(np.uint32)
    # Lists serve to hand over the edges of a cluster, the hash to find the one between two clusters.
    graph = (links, sums, lists, *list_edges(links, nodes))
    slots = empty_slots(len(sums))
    used = refill(slots, links)
    # Most edges are as they were when their turn comes: they are read off the sorted list. Only those that got worse go
    # through the heap, which so stays small enough for the cache.
    scores = np.empty(1024)
    tags = np.empty(1024, np.uint64)
    size = 0
    next_edge = 0
    while size or next_edge < len(order):
        edge, tie, bound, queued = _next_best(order, bounds, next_edge, scores, tags, size)
        # Merges do not search the queue for the edges that they add up, so what comes up may be out of date. Scores
        # only fall: an edge comes up too early, never too late, and is told by its score and its tie.
        score = sums[edge, 0] / sums[edge, 1] / full
        alive = links[edge, 0] != DEAD and score > stop
        again = alive and (score != bound or tau[edge] != tie)
        # Out of date: it waits again, with what it scores now. At the top of the heap it sinks to its new place, which
        # is cheaper than to remove and to insert it.
        if again and not queued:
            replace_top(scores, tags, size, score, tag(tau[edge], edge))
        elif not queued:
            size = drop_top(scores, tags, size)
        elif again:
            scores, tags, size = push(scores, tags, size, score, tag(tau[edge], edge))
        next_edge += queued
        # The best edge of all, and up to date: the next merge.
        if alive and not again:
            if frozen[links[edge, 0]] or frozen[links[edge, 2]]:
                # Neither end can be merged before it is known what becomes of the other.
                frozen[links[edge, 0]] = frozen[links[edge, 2]] = True
                continue
            kept, gone, more = _merge_along(edge, graph, tau, slots)
            record(kept, gone, score, smallest, merges)
            used += more
            # Slots of dead rows are not given back one by one; the hash is filled again when few are free.
            if is_crowded(slots, used):
                used = refill(slots, links)
    return tau
