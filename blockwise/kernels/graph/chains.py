# mypy: allow-untyped-defs
"""Merges found without a queue of all edges, one neighbourhood after the other, while it is in the cache.

From a cluster go to the one its best edge leads to, and on from there: edges get better, so this ends at two
clusters that are each other's best, which merge (a chain of nearest neighbours, Benzecri 1982). Such merges may
come in any order. Of many edges the best is costly to find: a cluster with too many has to wait, and so has every
cluster whose best edge leads to one that waits. These are left to `merging`.
"""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.graph.incidence import add_edge, list_edges, record, split
from blockwise.kernels.lookup import DEAD, joins


@compiled
def _find_best(node, links, sums, head, full):
    """The best edge of a cluster (-1 if it has none) and its score; takes what is dead out of the list."""
    best, highest = -1, -1.0
    half = head[node]
    last = -1
    place = 0
    while half != DEAD:
        edge, column = split(half)
        half = links[edge, column + 1]
        if links[edge, 0] == DEAD:
            if last < 0:
                head[node] = half
            else:
                links[last, place] = half
            continue
        last, place = edge, column + 1
        score = sums[edge, 0] / sums[edge, 1] / full
        if score > highest or (score == highest and edge < best):
            best, highest = edge, score
    return best, highest


@compiled
def _drop_edges(node, links, head, degree):
    """Remove all edges of a cluster that can merge no more."""
    half = head[node]
    while half != DEAD:
        edge, column = split(half)
        half = links[edge, column + 1]
        if links[edge, 0] != DEAD:
            degree[links[edge, 2 - column]] -= np.uint32(1)
            links[edge, 0] = DEAD
    head[node] = DEAD


@compiled
def _mark(node, links, head, mate):
    """Note at each neighbour of a cluster which edge leads there."""
    half = head[node]
    while half != DEAD:
        edge, column = split(half)
        half = links[edge, column + 1]
        if links[edge, 0] != DEAD:
            mate[links[edge, 2 - column]] = edge


@compiled
def _absorb(gone, kept, links, sums, lists, head, degree, mate):
    """Hand all edges of cluster `gone` to cluster `kept`.

    Of two edges to one neighbour the later row lives on, so that rows stay in the order that breaks ties.
    """
    _mark(kept, links, head, mate)
    half = head[gone]
    while half != DEAD:
        edge, column = split(half)
        this, half = half, links[edge, column + 1]
        if links[edge, 0] == DEAD:
            continue
        other = links[edge, 2 - column]
        rival = np.int64(mate[other])
        if joins(links, rival, kept, other):
            add_edge(max(edge, rival), min(edge, rival), links, sums, lists)
            degree[other] -= np.uint32(1)
        else:
            degree[kept] += np.uint32(1)
        if links[edge, 0] != DEAD:
            links[edge, column] = kept
            links[edge, column + 1], head[kept] = head[kept], this


@compiled
def _merge_along(edge, links, sums, lists, head, degree, mate):
    """Merge the two clusters of an edge; returns the one kept and the one gone."""
    kept, gone = links[edge, 0], links[edge, 2]
    if degree[kept] < degree[gone]:
        kept, gone = gone, kept
    links[edge, 0] = DEAD
    degree[kept] -= np.uint32(1)
    _absorb(gone, kept, links, sums, lists, head, degree, mate)
    return kept, gone


@compiled
def merge_chains(links, sums, lists, waits, most, limits, smallest, merges):
    """Merge clusters that are each other's best, none of which waits or has more than `most` edges.

    links, sums, lists: the columns of the edges; afterwards those of the edges left, each in the last
                        of the rows it was made of, and DEAD ones: also those of clusters that can merge no more.
    waits:              (nodes,) bool: clusters not to merge; overwritten.
    limits:             the full score and the stop, float64.
    smallest, merges:   see `record`.
    """
    full = limits[0]
    stop = limits[1]
    nodes = len(waits)
    head, degree = list_edges(links, nodes)
    chain, mate = np.empty(nodes, np.uint32), np.zeros(nodes, np.uint32)
    waits |= degree > most
    for start in range(nodes):
        chain[0], size = start, int(not waits[start])
        while size:
            node = chain[size - 1]
            edge, score = _find_best(node, links, sums, head, full)
            if edge < 0 or score <= stop:
                _drop_edges(node, links, head, degree)
                break
            other = links[edge, 0] + links[edge, 2] - node
            if waits[other]:
                waits[chain[:size]] = True
                break
            if size == 1 or chain[size - 2] != other:
                chain[size], size = other, size + 1
                continue
            kept, gone = _merge_along(edge, links, sums, lists, head, degree, mate)
            record(kept, gone, score, smallest, merges)
            waits[kept], waits[gone] = degree[kept] > most, True
            size -= 2
            if size == 0 and not waits[kept]:
                chain[0], size = kept, 1
