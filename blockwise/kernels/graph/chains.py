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
    # An array over all clusters does here what a hash would: an entry left from an earlier merge is told by its ends,
    # so nobody has to empty it.
    _mark(kept, links, head, mate)
    half = head[gone]
    while half != DEAD:
        edge, column = split(half)
        this, half = half, links[edge, column + 1]
        if links[edge, 0] == DEAD:
            continue
        other = links[edge, 2 - column]
        rival = np.int64(mate[other])
        # Both have an edge to this neighbour: one row gets the sum, the other one dies where it is.
        if joins(links, rival, kept, other):
            add_edge(max(edge, rival), min(edge, rival), links, sums, lists)
            degree[other] -= np.uint32(1)
        else:
            degree[kept] += np.uint32(1)
        # If the row of `gone` lives on, it moves to the list of `kept`; the other one hangs there already.
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
    # A cluster is looked through each time that a chain gets to it, so one of many edges is left to the queue.
    waits |= degree > most
    # Each cluster begins a chain of its own, unless it waits or has been merged into another one, which counts as
    # waiting.
    for start in range(nodes):
        chain[0], size = start, int(not waits[start])
        while size:
            node = chain[size - 1]
            edge, score = _find_best(node, links, sums, head, full)
            # Only the first of a chain comes here: any other has the edge that it was reached by. Scores only fall, so
            # it never merges, and its edges go, lest its neighbours look at them each time.
            if edge < 0 or score <= stop:
                _drop_edges(node, links, head, degree)
                break
            other = links[edge, 0] + links[edge, 2] - node
            # What becomes of the one that waits is not known here, so whoever's best edge leads to it waits too, and so
            # does all of the chain behind.
            if waits[other]:
                waits[chain[:size]] = True
                break
            # The edge leads on. It is better than the one before, rows breaking ties, so that no chain runs in a
            # circle.
            if size == 1 or chain[size - 2] != other:
                chain[size], size = other, size + 1
                continue
            # Each is the other's best: no merge elsewhere can make a better edge for either of them, so its turn may be
            # now.
            kept, gone = _merge_along(edge, links, sums, lists, head, degree, mate)
            record(kept, gone, score, smallest, merges)
            waits[kept], waits[gone] = degree[kept] > most, True
            # What is left of the chain still holds, as a merge makes no edge better; it goes on from its new end.
            size -= 2
            if size == 0 and not waits[kept]:
                chain[0], size = kept, 1
