"""Average precision and panoptic quality against masks compared one by one, and a matching by assignment."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from blockwise.kernels.scores.matching import PERCENTS, matched_pairs
from blockwise.kernels.scores.tables import score, truths_of
from blockwise.kernels.tables import count_overlap
from tests.support.scoring import match


def scenes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True squares, and segments that are shifted, cut and invented ones."""
    rng = np.random.default_rng(seed)
    truth, segments = np.zeros((2, 60, 60), np.uint64)
    for number in range(16):
        y, x = divmod(number, 4)
        truth[15 * y : 15 * y + 12, 15 * x : 15 * x + 12] = number + 1
        if rng.random() < 0.85:
            dy, dx = rng.integers(0, 3, 2)
            height = rng.integers(7, 13)
            segments[15 * y + dy : 15 * y + dy + height, 15 * x + dx : 15 * x + dx + 12] = 100 - number
    return segments, truth


def by_assignment(segments: np.ndarray, truth: np.ndarray, iou: float) -> tuple[int, int, int, float]:
    """Found, invented and missed objects and the sum of IoU, from masks and the best assignment, as others do it."""
    ours, theirs = (np.unique(image[image > 0]) for image in (segments, truth))
    table = np.array(
        [
            [((segments == a) & (truth == b)).sum() / ((segments == a) | (truth == b)).sum() for b in theirs]
            for a in ours
        ]
    )
    allowed = table >= iou if iou > 0.5 else table > 0.5
    rows, columns = linear_sum_assignment(-(allowed + table / (2 * len(table))))
    found = allowed[rows, columns]
    count = int(found.sum())
    return count, len(ours) - count, len(theirs) - count, float(table[rows, columns][found].sum())


@pytest.mark.parametrize("seed", range(5))
def test_objects_are_matched_as_by_the_best_assignment(seed):
    """At every IoU the same objects are found; precision and panoptic quality follow from their numbers."""
    segments, truth = scenes(seed)
    result = match(count_overlap(segments, truth), ())
    assert list(result.average_precision) == [f"{percent / 100:.2f}" for percent in PERCENTS]
    for percent in PERCENTS:
        found, invented, missed, total = by_assignment(segments, truth, percent / 100)
        assert result.average_precision[f"{percent / 100:.2f}"] == found / (found + invented + missed)
        if percent == 50:
            assert result.panoptic_quality == pytest.approx(total / (found + (invented + missed) / 2))
            assert result.segmentation_quality == pytest.approx(total / found)
    assert result.mean_average_precision == pytest.approx(np.mean(list(result.average_precision.values())))
    assert len(set(result.average_precision.values())) >= 3


def test_recognition_quality_is_the_f1_of_the_other_scores():
    """Both count the objects with an IoU above 0.5, also where voxels are ignored."""
    segments, truth = scenes(7)
    table = count_overlap(segments, truth)
    for ignore in ((), (0,), (0, 3, 5)):
        assert match(table, ignore).recognition_quality == score(table, ignore).f1


def test_large_objects_do_not_overflow():
    """Voxels of more than 2^60 are compared exactly: 95 of 100 parts are enough for 0.95, and one voxel less is not."""
    from blockwise.kernels.tables import as_overlap

    part = 2**57
    for shared, expected in ((95 * part // 64, 1.0), (95 * part // 64 - 1, 0.0)):
        table = as_overlap(np.array([1, 1]), np.array([1, 0]), np.array([shared, 100 * part // 64 - shared], np.uint64))
        assert match(table, ()).average_precision["0.95"] == expected
    assert matched_pairs(table, truths_of(table, ())).segments == 1


def test_nothing_to_find_is_found():
    """Without any object all scores are 1, and with an invented one 0."""
    empty = np.zeros((4, 4), np.uint64)
    assert match(count_overlap(empty, empty), ()).panoptic_quality == 1
    invented = match(count_overlap(empty + np.uint64(1), empty), ())
    assert (invented.panoptic_quality, invented.mean_average_precision) == (0, 0)
