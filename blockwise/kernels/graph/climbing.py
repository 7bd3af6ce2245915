# mypy: allow-untyped-defs
"""The segment of a few fragments at any threshold, without a pass over all: what is looked at changes its numbers.

Each row knows its parent, and one ancestor further up (Myers, "An applicative random-access stack", 1983: how far is
the number system of powers of two less one), so that a way up of n rows takes about 2 log2(n) steps. Scores never rise
on it, so the last row above the threshold is found without looking at those between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from blockwise.errors import BadInput
from blockwise.kernels.compiled import compiled

PIECE = 1 << 20
"""Rows read at a time."""
MOST_ROWS = 2**32 - 1


@dataclass(frozen=True)
class Ancestry:
    """A dendrogram made ready for `segments_of`: 24 bytes a fragment, and 28 while it is made."""

    fragment: np.ndarray
    """(n,) uint64, ascending."""
    parent: np.ndarray
    """(n,) uint32, the row of the fragment whose cluster took this one's; a root is its own."""
    jump: np.ndarray
    """(n,) uint32, the row of an ancestor further up, or of the parent."""
    score: np.ndarray
    """(n,) float64, the score of the merge into the parent, 0 for a root; never rises on the way up."""

    def segments_of(self, fragments: np.ndarray, threshold: float) -> np.ndarray:
        """The segment of each of these fragments at the threshold, as `cut` gives it; numbers unknown here stay.

        fragments: (m,) uint64 in any order, 0 for background. Raises BadInput if the threshold is not in [0, 1].
        """
        if not 0 <= threshold <= 1:
            raise BadInput("threshold", "not a score", got=threshold, wanted="0 to 1")
        wanted = np.ascontiguousarray(fragments, np.uint64)
        found: np.ndarray = _climb(self.fragment, self.parent, self.jump, self.score, wanted, threshold)
        return found


def read_ancestry(count: int, load: Callable[[str, slice], np.ndarray]) -> Ancestry:
    """The ancestry of a dendrogram of `count` fragments that is read a piece at a time.

    load: gives some rows of the columns fragment, parent and score. Raises BadInput beyond 2**32 - 1 fragments.
    """
    _check(count)
    fragment = np.empty(count, np.uint64)
    score = np.empty(count, np.float64)
    parent = np.empty(count, np.uint32)
    pieces = [slice(begin, min(begin + PIECE, count)) for begin in range(0, count, PIECE)]
    for rows in pieces:
        fragment[rows] = load("fragment", rows)
        score[rows] = load("score", rows)
        # A parent is smaller than its children, so that it is among what is read already.
        _find_rows(fragment[: rows.stop], np.asarray(load("parent", rows), np.uint64), parent[rows])
    return Ancestry(fragment, parent, _jumps(parent), score)


def gather_ancestry(fragment: np.ndarray, solved: Iterable[np.ndarray]) -> Ancestry:
    """The same of the merges of boxes. fragment: all fragments, sorted. solved: MERGE of each box."""
    _check(len(fragment))
    score = np.zeros(len(fragment), np.float64)
    parent = np.arange(len(fragment), dtype=np.uint32)
    for merges in solved:
        row = np.searchsorted(fragment, merges["child"])
        parent[row] = np.searchsorted(fragment, merges["parent"])
        score[row] = merges["score"]
    return Ancestry(fragment, parent, _jumps(parent), score)


def _check(count: int) -> None:
    if count > MOST_ROWS:
        raise BadInput("dendrogram", "has too many fragments", got=count, wanted=f"at most {MOST_ROWS}")


@compiled
def _position(fragment, number):
    """The row of a number, or that of the next larger."""
    low, high = 0, len(fragment)
    while low < high:
        middle = (low + high) // 2
        if fragment[middle] < number:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _find_rows(fragment, numbers, rows):
    """Write into `rows` where the numbers are, all of which are there."""
    for place in range(len(numbers)):
        rows[place] = _position(fragment, numbers[place])


@compiled
def _jumps(parent):
    """An ancestor of each row; parents come first, so one pass is enough."""
    jump = np.empty(len(parent), np.uint32)
    depth = np.empty(len(parent), np.uint32)
    for row in range(len(parent)):
        above = parent[row]
        if above == row:
            jump[row], depth[row] = row, 0
            continue
        far = jump[above]
        is_carried = np.int64(depth[above]) - depth[far] == np.int64(depth[far]) - depth[jump[far]]
        jump[row] = jump[far] if is_carried else above
        depth[row] = depth[above] + 1
    return jump


@compiled
def _climb(fragment, parent, jump, score, wanted, threshold):
    """The fragment that names the cluster of each wanted one; roots score 0, so that no way leads beyond them."""
    found = wanted.copy()
    for place in range(len(wanted)):
        row = _position(fragment, wanted[place])
        if row == len(fragment) or fragment[row] != wanted[place] or not score[row] > threshold:
            continue
        while True:
            if score[jump[row]] > threshold:
                row = np.int64(jump[row])
            elif score[parent[row]] > threshold:
                row = np.int64(parent[row])
            else:
                break
        found[place] = fragment[parent[row]]
    return found
