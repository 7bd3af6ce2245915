# mypy: allow-untyped-defs
"""The loop that merges clusters best edge first, and the lists of edges that it keeps.

Edges are rows in the order that breaks ties. Their columns: `links` as in `lookup`; `sums`, a numerator and a
denominator whose quotient by `full` is the score; and, for statistics other than the mean, sorted lists of bins.
"""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.heap import drop_top, is_ahead, push, replace_top, tag, untag
from blockwise.kernels.histograms import add_lists, weigh_list
from blockwise.kernels.lookup import DEAD, empty_slots, find, insert, is_crowded, refill


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
def _add(edge, rival, graph, lists):
    """Add two edges between the same clusters; returns the one that lives on.

    That is the better one: the score it has in the heap is a bound of the sum's.
    """
    links, sums, tau = graph[0], graph[1], graph[2]
    better = sums[edge, 0] / sums[edge, 1] > sums[rival, 0] / sums[rival, 1]
    alive, dead = (edge, rival) if better else (rival, edge)
    if len(lists[0]):
        lists[0][alive] = add_lists(lists[0][alive], lists[0][dead], lists)
        sums[alive, 0], sums[alive, 1] = weigh_list(lists[0][alive], lists)
    else:
        sums[alive, 0] += sums[dead, 0]
        sums[alive, 1] += sums[dead, 1]
    tau[alive] = max(tau[alive], tau[dead])
    links[dead, 0] = DEAD
    return alive


@compiled
def _absorb(gone, kept, graph, lists, slots):
    """Hand all edges of cluster `gone` to cluster `kept`; returns the slots used up."""
    links, _, _, head, length = graph
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
                alive = _add(edge, slots[1][slot], graph, lists)
                slots[1][slot] = alive
            if alive == edge:
                links[edge, column] = kept
                links[edge, column + 1], head[kept] = head[kept], half
                length[kept] += np.uint32(1)
        half = after
    return used


@compiled
def _merge_along(edge, graph, lists, slots):
    """Merge the two clusters of an edge; returns the one kept, the one gone, and the slots used up.

    The shorter list is walked; it may hold edges that are dead, but those are met only once.
    """
    links, length = graph[0], graph[4]
    kept, gone = links[edge, 0], links[edge, 2]
    if length[kept] < length[gone]:
        kept, gone = gone, kept
    links[edge, 0] = DEAD
    return kept, gone, _absorb(gone, kept, graph, lists, slots)


@compiled
def _record(child, other, score, merges):
    """Note a merge of two clusters, whose smallest fragments are given, and return the smaller one."""
    parent, height = merges
    child, ancestor = max(child, other), min(child, other)
    parent[child], height[child] = ancestor, score
    return ancestor


@compiled
def merge_all(links, sums, lists, order, bounds, frozen, limits):
    """Merge clusters whose edge scores above the stop, best edge first, but no frozen ones.

    links, sums, lists: the columns of the edges; afterwards those of the edges left, and DEAD ones.
    order, bounds:      the edges above the stop, best first (uint32), and their scores.
    frozen:             (nodes,) bool: clusters with edges elsewhere. Afterwards also those whose best edge led to one.
    limits:             the full score and the stop, float64.
    Returns for each node its parent (a row), the score of that merge, and the smallest node of its cluster (for
    clusters that are left), and for each edge its tau. The best edge is the first of `order`, or of a heap of
    those that turned out worse than they began.
    """
    full, stop, nodes = limits[0], limits[1], len(frozen)
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
            if frozen[links[edge, 0]] or frozen[links[edge, 2]]:
                # Neither end can be merged before it is known what becomes of the other.
                frozen[links[edge, 0]] = frozen[links[edge, 2]] = True
                continue
            kept, gone, more = _merge_along(edge, graph, lists, slots)
            smallest[kept] = _record(smallest[kept], smallest[gone], score, merges)
            used += more
            if is_crowded(slots, used):
                used = refill(slots, links)
    return merges[0], merges[1], smallest, tau
