# mypy: allow-untyped-defs
"""What both ways of merging share: the lists of edges at each cluster, and what a merge does to a row.

Edges are rows in the order that breaks ties. Their columns: `links` as in `lookup`; `sums`, a numerator and a
denominator whose quotient by `full` is the score; and, for statistics other than the mean, sorted lists of bins.
A list holds half-edges: 2 edge for the first end of an edge, 2 edge + 1 for the second. The next one stands
beside the end, in columns 1 and 3 of the links; edges that are dead stay in a list until it is walked.
"""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.graph.histograms import add_lists, weigh_list
from blockwise.kernels.lookup import DEAD


@compiled
def list_edges(links, nodes):
    """Fill the lists of edges at each node; returns their heads and lengths (uint32)."""
    head, length = np.full(nodes, DEAD, np.uint32), np.zeros(nodes, np.uint32)
    for edge in range(len(links) - 1, -1, -1):
        for side in (1, 0):
            node = links[edge, 2 * side]
            links[edge, 2 * side + 1], head[node] = head[node], 2 * edge + side
            length[node] += np.uint32(1)
    return head, length


@compiled
def split(half):
    """The edge of a half-edge, and the column of its end."""
    return np.int64(half >> np.uint32(1)), 2 * np.int64(half & np.uint32(1))


@compiled
def add_edge(alive, dead, links, sums, lists):
    """Add one of two edges between the same clusters to the other."""
    if len(lists[0]):
        lists[0][alive] = add_lists(lists[0][alive], lists[0][dead], lists)
        sums[alive, 0], sums[alive, 1] = weigh_list(lists[0][alive], lists)
    else:
        sums[alive, 0] += sums[dead, 0]
        sums[alive, 1] += sums[dead, 1]
    links[dead, 0] = DEAD


@compiled
def record(kept, gone, score, smallest, merges):
    """Note a merge of two clusters; each is called by its smallest fragment."""
    parent, height = merges
    ancestor = min(smallest[kept], smallest[gone])
    child = max(smallest[kept], smallest[gone])
    parent[child] = ancestor
    height[child] = score
    smallest[kept] = ancestor
