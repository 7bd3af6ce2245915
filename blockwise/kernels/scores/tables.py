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

from blockwise.kernels.graph.agglomeration import Dendrogram
from blockwise.kernels.scores.walk import sum_of_squares, two_words, walk
from blockwise.kernels.tables import as_overlap, merge_overlaps


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
class EvaluatedRows:
    """The evaluated rows of a table in rising order, with ids made dense."""

    segment: np.ndarray
    truth: np.ndarray
    voxels: np.ndarray
    segment_ids: np.ndarray
    truth_ids: np.ndarray
    segments: int


def evaluated(table: np.ndarray, ignore: Sequence[int]) -> EvaluatedRows:
    """The rows of a table (OVERLAP, in any order) whose truth is not ignored, equal pairs added."""
    rows = merge_overlaps([table[table["voxels"] > 0]])
    segments = len(np.unique(rows["fragment"][rows["fragment"] > 0]))
    rows = rows[~np.isin(rows["truth"], np.array(list(ignore), np.uint64))]
    segment_ids, segment = np.unique(rows["fragment"], return_inverse=True)
    truth_ids, truth = np.unique(rows["truth"], return_inverse=True)
    return EvaluatedRows(segment, truth, rows["voxels"].copy(), segment_ids, truth_ids, segments)


def _total(keys: np.ndarray, voxels: np.ndarray, size: int) -> np.ndarray:
    """Voxels of each key, uint64, exact."""
    totals = np.zeros(size, np.uint64)
    np.add.at(totals, keys, voxels)
    return totals


def _objects(ids: np.ndarray) -> int:
    return int(np.count_nonzero(ids))


def _logs(counts: np.ndarray) -> float:
    """The sum of x log2 x, correctly rounded."""
    values = counts[counts > 0].astype(np.float64)
    return math.fsum((values * np.log2(values)).tolist())


def score(table: np.ndarray, ignore: Sequence[int], threshold: float = math.nan) -> Scores:
    """The scores of one segmentation.

    table: OVERLAP with segments in the fragment column, in any order, a pair may come up more than once.
    ignore: truth ids whose voxels are left out. threshold: only noted in the result.
    """
    rows = evaluated(table, ignore)
    sizes = _total(rows.segment, rows.voxels, len(rows.segment_ids))
    truth_sizes = _total(rows.truth, rows.voxels, len(rows.truth_ids))
    objects = (rows.segment_ids[rows.segment] > 0) & (rows.truth_ids[rows.truth] > 0)
    matched = objects & (3 * rows.voxels > sizes[rows.segment] + truth_sizes[rows.truth])
    return _finish(
        threshold,
        int(truth_sizes.sum()),
        (_logs(rows.voxels), _logs(sizes), _logs(truth_sizes)),
        (sum_of_squares(rows.voxels), sum_of_squares(sizes), sum_of_squares(truth_sizes)),
        (rows.segments, _objects(rows.segment_ids), _objects(rows.truth_ids), int(matched.sum())),
    )


def _finish(
    threshold: float,
    voxels: int,
    logs: tuple[float, float, float],
    squares: tuple[int, int, int],
    counts: tuple[int, int, int, int],
) -> Scores:
    """Sums are over (pairs, segments, truths); counts are (segments, evaluated ones, truths, matched)."""
    segments, predicted, truths, matched = counts
    if voxels == 0:
        nan = math.nan
        return Scores(threshold, nan, nan, nan, nan, segments, truths, 0, nan, nan, nan)
    split, merge = (max(0.0, (one - logs[0]) / voxels) for one in (logs[2], logs[1]))
    arand = 1.0 - 2 * squares[0] / (squares[1] + squares[2])
    precision = matched / predicted if predicted else 1.0
    recall = matched / truths if truths else 1.0
    f1 = 2 * matched / (predicted + truths) if predicted + truths else 1.0
    voi = (split, merge, split + merge)
    return Scores(threshold, *voi, arand, segments, truths, matched, precision, recall, f1)


def sweep(
    table: np.ndarray, dendrogram: Dendrogram, thresholds: Sequence[float], ignore: Sequence[int]
) -> list[Scores]:
    """The scores at each threshold, in the order given, from one walk over the merges.

    table: OVERLAP of fragments; those that the dendrogram does not know stay as they are.
    Equals `score` of the table with the fragments' segments, but for rounding (1e-9).
    """
    rows = evaluated(table, ignore)
    falling = np.array(sorted(set(thresholds), reverse=True), np.float64)
    sizes = _total(rows.segment, rows.voxels, len(rows.segment_ids))
    truth_sizes = _total(rows.truth, rows.voxels, len(rows.truth_ids))
    ids = np.union1d(dendrogram.fragment, table["fragment"])
    present = np.isin(ids, table["fragment"][table["voxels"] > 0]).astype(np.uint8)
    present[ids == 0] = 2
    merged = np.flatnonzero(dendrogram.parent != dendrogram.fragment)
    merged = merged[np.argsort(-dendrogram.score[merged], kind="stable")]
    squares, logs, counts = walk(
        np.searchsorted(ids, rows.segment_ids)[rows.segment],
        rows.truth.astype(np.int64),
        rows.voxels,
        rows.truth_ids > 0,
        present,
        np.searchsorted(ids, dendrogram.fragment[merged]),
        np.searchsorted(ids, dendrogram.parent[merged]),
        dendrogram.score[merged],
        falling,
        np.array([_logs(rows.voxels), _logs(sizes)]),
    )
    start = [sum_of_squares(rows.voxels), sum_of_squares(sizes), sum_of_squares(truth_sizes)]
    truth_logs, truths = _logs(truth_sizes), _objects(rows.truth_ids)
    found = {}
    for step, threshold in enumerate(falling.tolist()):
        pairs, clusters = (start[at] + two_words(squares[step, at]) for at in range(2))
        found[threshold] = _finish(
            threshold,
            int(truth_sizes.sum()),
            (float(logs[step, 0]), float(logs[step, 1]), truth_logs),
            (pairs, clusters, start[2]),
            (int(counts[step, 0]), int(counts[step, 1]), truths, int(counts[step, 2])),
        )
    return [found[float(threshold)] for threshold in thresholds]


def best_possible(table: np.ndarray, ignore: Sequence[int]) -> Scores:
    """The scores if every fragment went to the truth object it shares most voxels with (ties: the smaller).

    Fragment 0, background, stays alone; fragments without an evaluated voxel are left out.
    """
    rows = evaluated(table, ignore)
    order = np.lexsort((rows.truth, np.iinfo(np.uint64).max - rows.voxels, rows.segment))
    first = order[np.r_[True, np.diff(rows.segment[order]) > 0][: len(order)]]
    truth_of = rows.truth[first].astype(np.uint64) + np.uint64(1)
    truth_of[rows.segment_ids == 0] = 0
    assigned = as_overlap(truth_of[rows.segment], rows.truth_ids[rows.truth], rows.voxels)
    return score(assigned, ignore)
