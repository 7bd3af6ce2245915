"""Scores of a graph that was solved in boxes, from box to box: those of the whole, and no box holds the whole.

Two things make that possible. Scores never rise on the way up, so what a box merged comes before all that is merged
around it; and what scores are made of are sums of whole numbers, to which each box adds what its own merges change.
It hands on no more than the clusters that go on outside, each with the voxels that it shares with true objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from blockwise.kernels.graph.agglomeration import Dendrogram, cut
from blockwise.kernels.graph.boxes import tree_within
from blockwise.kernels.scores.false_merges import FalseMerge, false_merges, first_of
from blockwise.kernels.scores.matching import Matches, matched_pairs, matches_of
from blockwise.kernels.scores.tables import NOTHING, Sums, Truths, assigned, best_first, evaluated, sums_of, swept
from blockwise.kernels.tables import added_up, as_overlap, merge_overlaps, relabel


@dataclass(frozen=True)
class SolvedBox:
    """What is known of a box before its clusters are scored."""

    table: np.ndarray
    """OVERLAP of the fragments in its own blocks, in any order; those of a box of boxes are handed on to it."""
    merges: np.ndarray
    """MERGE, found in this box."""
    passed: np.ndarray | None = None
    """(n,) uint64, sorted: the clusters that go on outside, by their smallest fragments; None for the last box."""

    def goes_on(self, clusters: np.ndarray) -> np.ndarray:
        """Which clusters may change outside, bool. Background is in no box alone."""
        if self.passed is None:
            return np.zeros(len(clusters), bool)
        found: np.ndarray = np.isin(clusters, self.passed, kind="sort") | (clusters == 0)
        return found


@dataclass(frozen=True)
class ScoresAsked:
    """What is asked of all boxes."""

    truths: Truths
    """Of the whole volume."""
    falling: tuple[float, ...]
    """Thresholds, each smaller than the one before."""
    least_voxels: int
    false_merges: int
    """How many are listed at most."""


@dataclass(frozen=True)
class HandedOn:
    """What a box hands on to the one around it."""

    clusters: np.ndarray
    """OVERLAP of the clusters that go on."""
    sums: Sums
    """Of these, which the box around counts again."""
    held: np.ndarray
    """MERGE of these clusters that wait, as one outside may have the same score and come first."""
    fragments: np.ndarray
    """OVERLAP of the fragments that may have voxels outside."""


@dataclass(frozen=True)
class ScoresAdded:
    """What a box adds to the scores of the volume."""

    sums: list[Sums]
    """At each threshold."""
    false_merges: list[FalseMerge]
    assigned: np.ndarray
    """OVERLAP of the true objects that fragments belong to, see `assigned`."""


def solve_scores(box: SolvedBox, inner: Sequence[HandedOn], wanted: ScoresAsked) -> tuple[ScoresAdded, HandedOn]:
    """What a box adds, and what it hands on; inner: what was handed on to it."""
    table = merge_overlaps([box.table, *(one.clusters for one in inner)])
    fragments = merge_overlaps([box.table, *(one.fragments for one in inner)]) if inner else table
    merges = np.concatenate([box.merges, *(one.held for one in inner)])
    root = roots(merges)
    top = relabel(np.ascontiguousarray(merges["child"]), *root)
    held = box.goes_on(top) & (merges["score"] == _lowest(top, merges["score"]))
    now = best_first(merges[~held])
    sums, false = _scored(table, now, wanted)
    known = sum((one.sums for one in inner), NOTHING)
    waits = box.goes_on(fragments["fragment"])
    found = ScoresAdded([one - known for one in sums], false, assigned(fragments[~waits], wanted.truths))
    names = np.ascontiguousarray(table["fragment"])
    clusters = _renamed(table[box.goes_on(relabel(names, *root))], roots(now))
    return found, HandedOn(clusters, sums_of(clusters, wanted.truths), merges[held], fragments[waits])


def _scored(table: np.ndarray, merges: np.ndarray, wanted: ScoresAsked) -> tuple[list[Sums], list[FalseMerge]]:
    """The sums of a table (OVERLAP) at each threshold, and its false merges, as its merges (best first) come about."""
    rows = evaluated(table, wanted.truths)
    sums = swept(rows, merges, wanted.truths, wanted.falling)
    return sums, false_merges(rows, merges, wanted.truths, wanted.least_voxels, wanted.false_merges)


def together(boxes: Iterable[ScoresAdded], wanted: ScoresAsked) -> ScoresAdded:
    """What all boxes add."""
    sums, merges = [NOTHING] * len(wanted.falling), list[FalseMerge]()

    def tables() -> Iterator[np.ndarray]:
        nonlocal sums, merges
        for box in boxes:
            sums = [one + more for one, more in zip(sums, box.sums, strict=True)]
            merges = first_of((merges, box.false_merges), wanted.false_merges)
            yield box.assigned

    table = added_up(tables())
    return ScoresAdded(sums, merges, table)


def solve_objects(
    box: SolvedBox, inner: Sequence[Sequence[np.ndarray]], truths: Truths, thresholds: Sequence[float]
) -> tuple[list[Matches], list[np.ndarray]]:
    """At each threshold what segments that end in a box add, and OVERLAP of the clusters that go on outside."""
    tree = tree_within(box.merges)
    matches, handed = [], []
    for place, threshold in enumerate(thresholds):
        table = merge_overlaps([box.table, *(tables[place] for tables in inner)])
        table = _renamed(table, (tree.fragment, cut(tree, threshold)))
        waits = box.goes_on(table["fragment"])
        matches.append(matches_of(matched_pairs(table[~waits], truths)))
        handed.append(table[waits])
    return matches, handed


def _renamed(table: np.ndarray, names: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """OVERLAP of what fragments have become, rows of the same pair added."""
    became = relabel(np.ascontiguousarray(table["fragment"]), *names)
    return merge_overlaps([as_overlap(became, table["truth"], table["voxels"])])


def roots(merges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What all merges make of the clusters they name: these, sorted, and the smallest fragment of what each is in."""
    tree = tree_within(merges)
    is_merged = (tree.parent != tree.fragment).astype(np.float64)  # also where the score is 0
    return tree.fragment, cut(Dendrogram(tree.fragment, tree.parent, is_merged), 0)


def _lowest(clusters: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The lowest of the scores of the cluster that each row is of."""
    place = np.unique(clusters, return_inverse=True)[1]
    lowest = np.full(len(clusters), np.inf)
    np.minimum.at(lowest, place, scores)
    found: np.ndarray = lowest[place]
    return found
