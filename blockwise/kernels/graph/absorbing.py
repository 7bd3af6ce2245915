# mypy: allow-untyped-defs
"""Join clusters that are too small to be objects with what they touch, at every threshold.

All pairs of touching fragments are gone through, in the order of the scores at which the dendrogram makes them one; of
equal scores by the mean affinity between the two, the largest first, and of equal ones by their numbers. A pair in two
clusters joins these: at that score, or, if one of both is too small, at a score of 1. So nothing but merges of the
dendrogram is done, some of them earlier, and always where two fragments touch. All of it is a function of the
dendrogram and of sums of integers: neither blocks nor the order of rows matter.

Of each segment at most one piece was large enough before: on the way from one large piece to another, the last pair
that was joined has one of them on either side, so that neither side was too small.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.graph.agglomeration import Dendrogram, in_order
from blockwise.kernels.graph.edges import EDGE, merge_edges
from blockwise.kernels.graph.rules import SmallRules

AT_ONCE = 1 << 20
"""Rows of edges that are added up at once."""


def absorb(tree: Dendrogram, voxels: np.ndarray, edges: Iterable[np.ndarray], rules: SmallRules) -> Dendrogram:
    """The dendrogram whose segments at any threshold below 1 have `min_voxels` or more, but for isolated ones.

    voxels: (n,) of each fragment, integers. edges: pieces of EDGE in any order, under the tree's numbers; those of a
    pair may be parts of a sum. What is smaller with all that it merges with is isolated: it stays, or is merged with 0,
    background, at a score of 1.
    """
    rows = in_order(tree)
    child, parent, level = rows, np.searchsorted(tree.fragment, tree.parent[rows]), tree.score[rows]
    up, when, is_small, total = _grow(child, parent, level, voxels.astype(np.int64), rules.min_voxels)
    chosen = _among_small(tree.fragment, edges, up, when, is_small)
    one, other, merge = _ends_and_merges(chosen, tree.fragment, up, when)
    # Merges come after all pairs of their score: only those between clusters that do not touch are done by them, which
    # somebody asked for who has corrected the result.
    first, second = np.append(one, child), np.append(other, parent)
    scores = np.append(level[merge], level)
    mean = np.append(chosen["sum"] / chosen["count"], np.full(len(rows), -1.0))
    order = np.lexsort((second, first, -mean, -scores))
    joined, score = _join(first[order], second[order], scores[order], voxels.astype(np.int64), rules.min_voxels)
    return _with_background(tree.fragment, joined, score, total < rules.min_voxels, rules)


def _with_background(
    fragment: np.ndarray, parent: np.ndarray, score: np.ndarray, is_isolated: np.ndarray, rules: SmallRules
) -> Dendrogram:
    """The dendrogram of these rows, without isolated ones if they are to go."""
    names = fragment[parent]
    if rules.isolated == "keep" or not is_isolated.any():
        return Dendrogram(fragment, names, score)
    names[is_isolated], score[is_isolated] = 0, 1.0
    zero = np.zeros(1, np.uint64)
    return Dendrogram(np.append(zero, fragment), np.append(zero, names), np.append(0.0, score))


def _among_small(
    fragment: np.ndarray, pieces: Iterable[np.ndarray], up: np.ndarray, when: np.ndarray, is_small: np.ndarray
) -> np.ndarray:
    """EDGE of the pairs that small merges make one, sorted; few, so they are picked out of each piece."""
    waiting = [np.empty(0, EDGE)]
    for piece in pieces:
        _, _, merge = _ends_and_merges(piece, fragment, up, when)
        inside = np.flatnonzero(merge >= 0)
        waiting.append(piece[inside[is_small[merge[inside]]]])
        if sum(map(len, waiting[1:])) > max(AT_ONCE, len(waiting[0])):
            waiting = [merge_edges(waiting)]
    return merge_edges(waiting)


def _ends_and_merges(
    edges: np.ndarray, fragment: np.ndarray, up: np.ndarray, when: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of both ends of each edge, and the merge that made them one; -1 if none did."""
    one, other = (np.searchsorted(fragment, edges[end]) for end in ("u", "v"))
    return one, other, _meet(up, when, one, other)


@compiled
def _top(up, row):
    while up[row] != row:
        row = up[row]
    return row


@compiled
def _grow(child, parent, score, voxels, least):
    """Merge in order, the cluster of fewer fragments below the other, so that the way up is short.

    Returns the row above each, the merge that put it there (the number of merges if none did), whether any cluster of
    fewer voxels than `least` is among those that a merge and others of its score make one, and the voxels that each row
    is together with at the end.
    """
    nodes = len(voxels)
    up = np.arange(nodes)
    when = np.full(nodes, len(child), np.int64)
    count = np.ones(nodes, np.int64)
    is_small = np.zeros(len(child), np.bool_)
    has_small = np.zeros(nodes, np.bool_)
    start = 0
    while start < len(child):
        end = start
        while end < len(child) and score[end] == score[start]:
            low, high = _top(up, child[end]), _top(up, parent[end])
            is_small[end] = voxels[low] < least or voxels[high] < least
            if count[low] > count[high]:
                low, high = high, low
            up[low], when[low] = high, end
            count[high] += count[low]
            voxels[high] += voxels[low]
            end += 1
        # Which of equal merges came first is not known, so what one of them is all of one cluster are.
        for merge in range(start, end):
            if is_small[merge]:
                has_small[_top(up, child[merge])] = True
        for merge in range(start, end):
            is_small[merge] = has_small[_top(up, child[merge])]
        for merge in range(start, end):
            has_small[_top(up, child[merge])] = False
        start = end
    total = np.empty(nodes, np.int64)
    for row in range(nodes):
        total[row] = voxels[_top(up, row)]
    return up, when, is_small, total


@compiled
def _meet(up, when, first, second):
    """The merge that made each two rows one, -1 if none did: the later ones lie further up."""
    met = np.empty(len(first), np.int64)
    for at in range(len(first)):
        one, other, merge = first[at], second[at], -1
        while one != other:
            if when[one] > when[other]:
                one, other = other, one
            if up[one] == one:
                merge = -1
                break
            merge = when[one]
            one = up[one]
        met[at] = merge
    return met


@compiled
def _join(first, second, score, voxels, least):
    """Parent and score of each row; of pairs in this order those in two clusters join them, at 1 if one is small.

    A cluster is called by its first row, so those of a score of 1 come before all others.
    """
    nodes = len(voxels)
    up = np.arange(nodes)
    is_early = np.zeros(len(first), np.bool_)
    pairs = np.empty(len(first), np.int64)
    kept = 0
    for pair in range(len(first)):
        one, other = _find(up, first[pair]), _find(up, second[pair])
        if one != other:
            is_early[pair] = voxels[one] < least or voxels[other] < least
            up[other] = one
            voxels[one] += voxels[other]
            pairs[kept] = pair
            kept += 1
    up = np.arange(nodes)
    parent = np.arange(nodes)
    scores = np.zeros(nodes)
    for early in (True, False):
        for pair in pairs[:kept]:
            if is_early[pair] == early:
                one, other = _find(up, first[pair]), _find(up, second[pair])
                low, high = min(one, other), max(one, other)
                up[high] = low
                parent[high] = low
                scores[high] = 1.0 if early else score[pair]
    return parent, scores


@compiled
def _find(up, row):
    """The top of a row; ways that were gone become shorter."""
    while up[row] != row:
        up[row] = up[up[row]]
        row = up[row]
    return row
