# mypy: allow-untyped-defs
"""How often each affinity occurs between two fragments, in 256 bins, and the statistics read from it.

The quantile is that of waterz: the centre of the bin of the pivot, the 1 + floor(q n / 100)-th of n affinities.
Of two histograms added, no quantile and no maximum is above both, so these merge in any order as the mean does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blockwise.errors import BadInput
from blockwise.kernels.compiled import compiled
from blockwise.kernels.graph.edges import EDGE, HISTOGRAM, merge_edges, rename_ends
from blockwise.kernels.graph.rules import MAXIMUM

END = np.uint32(0xFFFFFFFF)

Lists = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]
"""The first place of each edge (uint32), then for each place the next (uint32), its bin (uint8) and count (uint64);
and the quantile that is wanted. Places are sorted by bin. For the mean all are empty."""


def merge_histograms(tables: Sequence[np.ndarray]) -> np.ndarray:
    """All HISTOGRAM rows of the tables, sorted by (u, v, bin), counts of equal ones added."""
    rows = np.concatenate([np.empty(0, HISTOGRAM), *tables])
    if len(rows) and int(rows["v"].max()) >> 56:
        raise BadInput("histograms", "fragments are numbered too high", wanted="numbers below 2**56")
    packed = np.empty(len(rows), EDGE)
    packed["u"], packed["v"] = rows["u"], (rows["v"] << np.uint64(8)) | rows["bin"]
    packed["sum"], packed["count"] = rows["count"], 0
    packed = merge_edges([packed])
    merged = np.empty(len(packed), HISTOGRAM)
    merged["u"], merged["v"] = packed["u"], packed["v"] >> np.uint64(8)
    merged["bin"], merged["count"] = packed["v"] & np.uint64(255), packed["sum"]
    return merged


def rename_histograms(rows: np.ndarray, old_sorted: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The histograms between the new ids, as `rename_edges`."""
    return merge_histograms([rename_ends(rows, old_sorted, new)])


def no_lists() -> Lists:
    """Lists for the mean, which needs none."""
    return np.empty(0, np.uint32), np.empty(0, np.uint32), np.empty(0, np.uint8), np.empty(0, np.uint64), 0


def make_lists(edges: np.ndarray, rows: np.ndarray, percent: int) -> Lists:
    """A list of bins for each edge.

    edges: with fields u and v, in any order, each pair once. rows: HISTOGRAM from `merge_histograms`.
    Raises BadInput unless just these pairs have a histogram.
    """
    u, v = rows["u"], rows["v"]
    starts = np.flatnonzero(np.r_[True, (u[1:] != u[:-1]) | (v[1:] != v[:-1])][: len(rows)])
    order = np.lexsort((edges["v"], edges["u"]))
    same = len(starts) == len(edges) and all((edges[end][order] == rows[end][starts]).all() for end in ("u", "v"))
    if not same or len(rows) >= END:
        raise BadInput("histograms", "do not belong to the edges", got=len(starts), wanted=f"{len(edges)} pairs")
    first = np.empty(len(edges), np.uint32)
    first[order] = starts
    after = np.arange(1, len(rows) + 1).astype(np.uint32)
    after[starts[1:] - 1] = END
    after[-1:] = END
    return first, after, np.ascontiguousarray(rows["bin"]), rows["count"].copy(), percent


def weigh_lists(lists: Lists) -> np.ndarray:
    """(n, 2) uint64: for each edge the numerator and the denominator of its score."""
    sums = np.empty((len(lists[0]), 2), np.uint64)
    _weigh_all(lists, sums)
    return sums


def unlist(lists: Lists, chosen: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """HISTOGRAM rows, unsorted, of the chosen edges (rows), which now join u and v."""
    lengths = _lengths(lists, chosen)
    rows = np.empty(int(lengths.sum()), HISTOGRAM)
    rows["u"], rows["v"] = np.repeat(u, lengths), np.repeat(v, lengths)
    rows["bin"], rows["count"] = _collect(lists, chosen, len(rows))
    return rows


@compiled
def add_lists(one, other, lists):
    """Add two lists; returns the first place of the sum, which is made of their places."""
    _, after, bins, counts, _ = lists
    head = last = END
    while one != END and other != END:
        if bins[other] < bins[one]:
            one, other = other, one
        if bins[one] == bins[other]:
            counts[one] += counts[other]
            other = after[other]
        if last == END:
            head = one
        else:
            after[last] = one
        last, one = one, after[one]
    rest = other if one == END else one
    if last == END:
        return rest
    after[last] = rest
    return head


@compiled
def weigh_list(head, lists):
    """Numerator and denominator of the score: the bin of the largest of 255, or twice the bin's centre of 512."""
    _, after, bins, counts, percent = lists
    total, place = np.uint64(0), head
    while place != END:
        total += counts[place]
        place = after[place]
    pivot = min(np.uint64(percent) * total // np.uint64(100) + np.uint64(1), total)
    seen, place = counts[head], head
    while seen < pivot:
        place = after[place]
        seen += counts[place]
    if percent == MAXIMUM:
        return np.uint64(bins[place]), np.uint64(255)
    return np.uint64(2) * np.uint64(bins[place]) + np.uint64(1), np.uint64(512)


@compiled
def _weigh_all(lists, sums):
    for edge in range(len(sums)):
        sums[edge, 0], sums[edge, 1] = weigh_list(lists[0][edge], lists)


@compiled
def _lengths(lists, edges):
    first, after = lists[0], lists[1]
    lengths = np.zeros(len(edges), np.int64)
    for row in range(len(edges)):
        place = first[edges[row]]
        while place != END:
            lengths[row] += 1
            place = after[place]
    return lengths


@compiled
def _collect(lists, edges, size):
    first, after, bins, counts, _ = lists
    found = np.empty(size, np.uint8)
    totals = np.empty(size, np.uint64)
    at = 0
    for edge in edges:
        place = first[edge]
        while place != END:
            found[at], totals[at] = bins[place], counts[place]
            at += 1
            place = after[place]
    return found, totals
