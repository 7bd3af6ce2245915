"""What single fragments and clusters come to, and are made of, told without the dendrogram as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from blockwise.arrays.volume import Volume
from blockwise.kernels.graph.agglomeration import Dendrogram
from blockwise.kernels.graph.boxes import assemble
from blockwise.kernels.scores.boxes import roots
from blockwise.kernels.scores.false_merges import FalseMerge, both_sides
from blockwise.stages.agglomerate.pieces import boxes_of, read_columns, read_merges
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.agglomerate.tree import NONE


@dataclass(frozen=True)
class Sides:
    """The fragments of both clusters of up to 64 merges, and in which they are: bit i stands for merge i."""

    fragment: np.ndarray
    """(n,) uint64, sorted, each once."""
    first: np.ndarray
    """(n,) uint64, of the cluster that was named first."""
    second: np.ndarray
    """(n,) uint64."""

    def bits_of(self, fragments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The bits of these fragments, in any order; 0 for those that are in none."""
        place = np.minimum(np.searchsorted(self.fragment, fragments), max(0, len(self.fragment) - 1))
        is_known = np.zeros(len(fragments), bool) if not len(self.fragment) else self.fragment[place] == fragments
        none = np.uint64(0)
        first, second = (np.where(is_known, bits[place], none) for bits in (self.first, self.second))
        return first, second


def sides_of(dendrogram: Volume, merges: Sequence[FalseMerge]) -> Sides:
    """The sides of at most 64 merges of a stored dendrogram."""
    solved = boxes_of(dendrogram)
    if not len(solved):
        tree = read_dendrogram(dendrogram)
        first, second = both_sides(tree, merges)
        chosen = first | second > 0
        return Sides(tree.fragment[chosen], first[chosen], second[chosen])
    rows = _rows_of(dendrogram, len(solved), [merge.clusters[1] for merge in merges])
    named, bits = [np.empty(0, np.uint64)], [np.empty((2, 0), np.uint64)]
    for place, (merge, row) in enumerate(zip(merges, rows, strict=True)):
        # Merges of the same score in boxes around may come before this one, of the cluster that goes on.
        rows_of_sides = (_outermost(dendrogram, solved, row, merge.clusters[0]), row)
        for side, (cluster, begin) in enumerate(zip(merge.clusters, rows_of_sides, strict=True)):
            for fragments in _members(dendrogram, solved, begin, np.array([cluster], np.uint64), merge):
                some = np.zeros((2, len(fragments)), np.uint64)
                some[side] = np.uint64(1) << np.uint64(place)
                named.append(fragments)
                bits.append(some)
    fragment, place_of = np.unique(np.concatenate(named), return_inverse=True)
    both = np.zeros((2, len(fragment)), np.uint64)
    for side, some in enumerate(np.concatenate(bits, axis=1)):
        np.bitwise_or.at(both[side], place_of, some)
    return Sides(fragment, *both)


def tree_above(dendrogram: Volume, fragments: np.ndarray) -> Dendrogram:
    """The rows of a stored dendrogram for these fragments, and for all that they are merged into in the end.

    All of it where it is stored as a whole. fragments: in any order.
    """
    solved = boxes_of(dendrogram)
    if not len(solved):
        return read_dendrogram(dendrogram)
    known, found = np.unique(fragments), []
    for row in range(len(solved)):
        merges, is_new = read_merges(dendrogram, row), True
        while is_new:  # what something is merged into may be merged in the same box
            is_known = np.isin(merges["child"], known)
            found.append(merges[is_known])
            merges = merges[~is_known]
            before, known = len(known), np.union1d(known, found[-1]["parent"])
            is_new = len(known) > before
    return assemble(known, found)


def _rows_of(dendrogram: Volume, boxes: int, children: Sequence[int]) -> list[int]:
    """The box in which each of these was merged into another."""
    wanted, found = np.array(children, np.uint64), {}
    for row in range(boxes):
        (merged,) = read_columns(dendrogram, row, "child")
        found.update(dict.fromkeys(wanted[np.isin(wanted, merged)].tolist(), row))
    return [found[child] for child in children]


def _outermost(dendrogram: Volume, solved: np.ndarray, row: int, cluster: int) -> int:
    """The largest box around one, or that itself, in which a cluster is still known by its name."""
    while solved["above"][row] != NONE and np.isin(np.uint64(cluster), read_columns(dendrogram, row, "passed")[0]):
        row = int(solved["above"][row])
    return row


def _members(
    dendrogram: Volume, solved: np.ndarray, row: int, clusters: np.ndarray, merge: FalseMerge
) -> Iterator[np.ndarray]:
    """The fragments of clusters as they were before a merge; row: a box that holds all of them."""
    merges = read_merges(dendrogram, row)
    comes_before = (merges["score"] > merge.score) | (
        (merges["score"] == merge.score) & (merges["child"] > merge.clusters[1])
    )
    names, tops = roots(merges[comes_before])
    clusters = np.union1d(clusters, names[np.isin(tops, clusters)])
    if solved["level"][row] == 0:
        yield clusters
        return
    for inner in np.flatnonzero(solved["above"] == row).tolist():
        (passed,) = read_columns(dendrogram, inner, "passed")
        within = clusters[np.isin(clusters, passed)]
        if len(within):
            yield from _members(dendrogram, solved, inner, within, merge)
