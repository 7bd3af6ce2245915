"""Scores of a segmentation from its overlap table: information, Rand and objects, at one threshold or at all.

Everything is counted over the evaluated voxels: those whose truth is not among the ignored ids. Id 0 is
never an object. So with `ignore=(0,)` (neurons, all space is somebody's) unlabelled voxels count for nothing,
and with `ignore=()` (nuclei on background) they enlarge the segments that cover them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blockwise.kernels.graph.agglomeration import falling_order, unique
from blockwise.kernels.graph.boxes import MERGE
from blockwise.kernels.scores.walk import PER_BIT, in_units, sum_of_bits, sum_of_squares, two_words, walk
from blockwise.kernels.tables import AT_ONCE, OVERLAP, added_up, as_overlap, merge_overlaps


@dataclass(frozen=True)
class Scores:
    """How well segments agree with the truth; perfect is 0 for VOI and Rand, 1 for the last three.

    All are nan if no voxel is evaluated; a ratio of nothing to nothing is 1.
    """

    threshold: float
    """Fragments were merged above this score; nan if not known."""

    voi_split: float
    """H(segment | truth) in bits: truth objects in pieces."""

    voi_merge: float
    """H(truth | segment) in bits: segments across truth objects."""

    voi_sum: float
    """Variation of information in bits (Meila 2007)."""

    arand: float
    """Adapted Rand error, 1 - F of the pairs of voxels (Arganda-Carreras et al. 2015); 0 is perfect."""

    segments: int
    """Segments in the whole table, evaluated or not, background apart."""

    truth_objects: int
    """Truth objects evaluated."""

    matched: int
    """Truth objects of which some segment covers more than half of the union of both (IoU > 0.5)."""

    precision: float
    """Matched, of the segments with an evaluated voxel."""

    recall: float
    """Matched, of the truth objects."""

    f1: float
    """Harmonic mean of precision and recall."""


@dataclass(frozen=True)
class Truths:
    """The true objects that are evaluated."""

    ids: np.ndarray
    """(t,) uint64, rising; 0, where it is evaluated, is no object."""
    sizes: np.ndarray
    """(t,) uint64, voxels of each in all that is scored."""

    @property
    def voxels(self) -> int:
        """Evaluated voxels."""
        return int(self.sizes.sum())

    @property
    def objects(self) -> int:
        """How many there are."""
        return int(np.count_nonzero(self.ids))


@dataclass(frozen=True)
class EvaluatedRows:
    """The evaluated rows of a table in rising order, with ids made dense."""

    segment: np.ndarray
    truth: np.ndarray
    """Places in `Truths`."""
    voxels: np.ndarray
    segment_ids: np.ndarray
    present: np.ndarray
    """All ids with a voxel, evaluated or not, rising."""

    def without_background(self) -> EvaluatedRows:
        """The rows of all segments but 0, the first if it is among them."""
        first = int(np.searchsorted(self.segment_ids, 1))
        begin = int(np.searchsorted(self.segment, first))
        return EvaluatedRows(
            self.segment[begin:] - first,
            self.truth[begin:],
            self.voxels[begin:],
            self.segment_ids[first:],
            self.present[np.searchsorted(self.present, 1) :],
        )


def truths_of(table: np.ndarray, ignore: Sequence[int]) -> Truths:
    """The truth objects of a table (OVERLAP, in any order) that are not ignored."""
    ids, place = np.unique(table["truth"], return_inverse=True)
    sizes = total_by(place, table["voxels"], len(ids))
    chosen = (sizes > 0) & ~np.isin(ids, np.array(list(ignore), np.uint64))
    return Truths(ids[chosen], sizes[chosen])


def evaluated(table: np.ndarray, truths: Truths) -> EvaluatedRows:
    """The rows of a table (OVERLAP, in any order) whose truth is evaluated, equal pairs added."""
    rows = merge_overlaps([table])
    is_there = rows["voxels"] > 0
    present = _rising(rows["fragment"][is_there])
    place = np.searchsorted(truths.ids, rows["truth"])
    place[place == len(truths.ids)] = 0
    chosen = is_there & (truths.ids[place] == rows["truth"]) if len(truths.ids) else np.zeros(len(rows), bool)
    fragment = rows["fragment"][chosen]
    segment_ids = _rising(fragment)
    return EvaluatedRows(
        np.searchsorted(segment_ids, fragment), place[chosen], rows["voxels"][chosen], segment_ids, present
    )


def _rising(ids: np.ndarray) -> np.ndarray:
    """The ids of a sorted column, each once."""
    found: np.ndarray = ids[np.r_[True, ids[1:] != ids[:-1]][: len(ids)]].copy()
    return found


def total_by(keys: np.ndarray, voxels: np.ndarray, size: int) -> np.ndarray:
    """(size,) uint64: the voxels of each key, exact. keys: (n,) from 0 on."""
    totals = np.zeros(size, np.uint64)
    np.add.at(totals, keys, voxels)
    return totals


@dataclass(frozen=True)
class Sums:
    """What scores are made of, in whole numbers: those of a volume are the sums of those of its boxes, in any order."""

    squares: tuple[int, int]
    """Of the voxels of (pairs of a segment and a truth object, segments)."""
    bits: tuple[int, int]
    """x log2 x of the same, in units of 1 / PER_BIT."""
    counts: tuple[int, int, int]
    """Segments, those with an evaluated voxel, and those of them that match a truth object (IoU > 0.5)."""

    def __add__(self, other: Sums) -> Sums:
        return self._joined(other, 1)

    def __sub__(self, other: Sums) -> Sums:
        return self._joined(other, -1)

    def _joined(self, other: Sums, sign: int) -> Sums:
        squares, bits, counts = (
            tuple(one + sign * more for one, more in zip(mine, its, strict=True))
            for mine, its in zip(self._fields(), other._fields(), strict=True)
        )
        return Sums(squares, bits, counts)  # type: ignore[arg-type]

    def _fields(self) -> tuple[tuple[int, ...], ...]:
        return self.squares, self.bits, self.counts


NOTHING = Sums((0, 0), (0, 0), (0, 0, 0))
"""The sums of no segment."""


def sums_of(table: np.ndarray, truths: Truths) -> Sums:
    """The sums of the segments of a table (OVERLAP, in any order)."""
    return swept(evaluated(table, truths), np.empty(0, MERGE), truths, [1.0])[0]


def swept(rows: EvaluatedRows, merges: np.ndarray, truths: Truths, falling: Sequence[float]) -> list[Sums]:
    """The sums at each threshold, from one walk over the merges.

    rows: of fragments. merges: MERGE, see `best_first`; what they do not name stays as it is.
    falling: thresholds, each smaller than the one before.
    """
    sizes = total_by(rows.segment, rows.voxels, len(rows.segment_ids))
    ids = unique([merges["child"], merges["parent"], rows.present])
    present = np.isin(ids, rows.present).astype(np.uint8)
    present[ids == 0] = 2
    squares, bits, counts = walk(
        np.searchsorted(ids, rows.segment_ids)[rows.segment],
        rows.truth,
        rows.voxels,
        truths.sizes,
        truths.ids > 0,
        present,
        np.searchsorted(ids, merges["child"]),
        np.searchsorted(ids, merges["parent"]),
        np.ascontiguousarray(merges["score"]),
        np.array(falling, np.float64),
    )
    start = Sums(
        (sum_of_squares(rows.voxels), sum_of_squares(sizes)), (sum_of_bits(rows.voxels), sum_of_bits(sizes)), (0, 0, 0)
    )
    added = zip(squares, bits, counts.tolist(), strict=True)
    return [
        start + Sums((two_words(one[0]), two_words(one[1])), (in_units(more[0]), in_units(more[1])), tuple(some))
        for one, more, some in added
    ]


def best_first(merges: np.ndarray) -> np.ndarray:
    """MERGE with the best score first, of equal scores the larger child: both clusters still have the names it says."""
    ordered: np.ndarray = merges[falling_order(merges["score"], merges["child"])]
    return ordered


def score(table: np.ndarray, ignore: Sequence[int], threshold: float = math.nan) -> Scores:
    """The scores of one segmentation.

    table: OVERLAP with segments in the fragment column, in any order, a pair may come up more than once.
    ignore: truth ids whose voxels are left out. threshold: only noted in the result.
    """
    truths = truths_of(table, ignore)
    return finished(sums_of(table, truths), truths, threshold)


def finished(sums: Sums, truths: Truths, threshold: float) -> Scores:
    """The scores of all segments."""
    segments, predicted, matched = sums.counts
    objects, voxels = truths.objects, truths.voxels
    if voxels == 0:
        nan = math.nan
        return Scores(threshold, nan, nan, nan, nan, segments, objects, 0, nan, nan, nan)
    split, merge = (
        max(0, whole - sums.bits[0]) / (voxels * PER_BIT) for whole in (sum_of_bits(truths.sizes), sums.bits[1])
    )
    arand = 1.0 - 2 * sums.squares[0] / (sums.squares[1] + sum_of_squares(truths.sizes))
    precision = matched / predicted if predicted else 1.0
    recall = matched / objects if objects else 1.0
    f1 = 2 * matched / (predicted + objects) if predicted + objects else 1.0
    voi = (split, merge, split + merge)
    return Scores(threshold, *voi, arand, segments, objects, matched, precision, recall, f1)


def assigned(table: np.ndarray, truths: Truths) -> np.ndarray:
    """OVERLAP of the truth objects that fragments belong to, by their places plus 1, with truth objects; 0 stays 0."""
    rows = evaluated(table, truths)
    if not len(rows.segment):
        return np.empty(0, OVERLAP)
    begin = np.flatnonzero(np.r_[True, np.diff(rows.segment) > 0])
    most = np.maximum.reduceat(rows.voxels, begin)
    # Rows rise by truth object, so the first with the most voxels is that of the smallest.
    best = np.flatnonzero(rows.voxels == most[rows.segment])
    first = best[np.r_[True, np.diff(rows.segment[best]) > 0]]
    truth_of = rows.truth[first].astype(np.uint64) + np.uint64(1)
    truth_of[rows.segment_ids == 0] = 0
    some = (slice(at, at + AT_ONCE) for at in range(0, len(rows.segment), AT_ONCE))
    return added_up(as_overlap(truth_of[rows.segment[at]], truths.ids[rows.truth[at]], rows.voxels[at]) for at in some)
