# mypy: allow-untyped-defs
"""A binary heap of edges: the largest score first, among equal scores the smallest tie first.

Three columns of one length: score (float64), tie and edge (uint32). Entries do not change while in it.
"""

from __future__ import annotations

from blockwise.kernels.compiled import compiled


@compiled
def _ahead(score, tie, other_score, other_tie):
    return score > other_score or (score == other_score and tie < other_tie)


@compiled
def _sink(scores, ties, edges, size, at, score, tie, edge):
    """Put an entry at `at` or below, where a hole is."""
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and _ahead(scores[right], ties[right], scores[child], ties[child]):
            child = right
        if not _ahead(scores[child], ties[child], score, tie):
            break
        scores[at], ties[at], edges[at] = scores[child], ties[child], edges[child]
        at = child
    scores[at], ties[at], edges[at] = score, tie, edge


@compiled
def heapify(scores, ties, edges, size):
    """Order the first `size` entries as a heap."""
    for at in range(size // 2 - 1, -1, -1):
        _sink(scores, ties, edges, size, at, scores[at], ties[at], edges[at])


@compiled
def replace_top(scores, ties, edges, size, score, tie, edge):
    """Replace the first entry by another one."""
    _sink(scores, ties, edges, size, 0, score, tie, edge)


@compiled
def drop_top(scores, ties, edges, size):
    """Remove the first entry; returns the new size."""
    size -= 1
    if size:
        _sink(scores, ties, edges, size, 0, scores[size], ties[size], edges[size])
    return size
