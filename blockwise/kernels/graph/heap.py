# mypy: allow-untyped-defs
"""A heap of edges: the largest score first, among equal scores the smallest tag first.

Two columns of one length: score (float64), and tag (uint64), a tie in the upper and an edge in the lower half.
An entry does not change while it is in the heap. Every entry has four below it, side by side in memory.
"""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled


@compiled
def tag(tie, edge):
    """A tie and an edge as one number, ordered by tie."""
    return (np.uint64(tie) << np.uint64(32)) | np.uint64(edge)


@compiled
def untag(value):
    """The tie and the edge of a tag."""
    return np.uint32(value >> np.uint64(32)), np.uint32(value & np.uint64(0xFFFFFFFF))


@compiled
def is_ahead(score, mark, other_score, other_mark):
    """Whether the first of two entries comes first."""
    return score > other_score or (score == other_score and mark < other_mark)


@compiled
def _sink(scores, tags, size, at, score, mark):
    """Put an entry at `at` or below, where a hole is."""
    while 4 * at + 1 < size:
        child = 4 * at + 1
        for other in range(child + 1, min(child + 4, size)):
            if is_ahead(scores[other], tags[other], scores[child], tags[child]):
                child = other
        if not is_ahead(scores[child], tags[child], score, mark):
            break
        scores[at], tags[at] = scores[child], tags[child]
        at = child
    scores[at], tags[at] = score, mark


@compiled
def replace_top(scores, tags, size, score, mark):
    """Replace the first entry by another one."""
    _sink(scores, tags, size, 0, score, mark)


@compiled
def push(scores, tags, size, score, mark):
    """Add an entry; returns the columns, longer ones if they were full, and the new size."""
    if size == len(scores):
        more_scores = np.empty(size + size // 4 + 1024)
        more_tags = np.empty(size + size // 4 + 1024, np.uint64)
        more_scores[:size], more_tags[:size] = scores, tags
        scores, tags = more_scores, more_tags
    at = size
    while at and is_ahead(score, mark, scores[(at - 1) // 4], tags[(at - 1) // 4]):
        scores[at], tags[at] = scores[(at - 1) // 4], tags[(at - 1) // 4]
        at = (at - 1) // 4
    scores[at], tags[at] = score, mark
    return scores, tags, size + 1


@compiled
def drop_top(scores, tags, size):
    """Remove the first entry; returns the new size."""
    size -= 1
    if size:
        _sink(scores, tags, size, 0, scores[size], tags[size])
    return size
