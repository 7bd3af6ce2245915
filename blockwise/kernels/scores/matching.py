"""Objects against objects at one threshold: average precision, panoptic quality, and which belongs to which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blockwise.kernels.scores.tables import Truths, evaluated, total_by

PERCENTS = tuple(range(50, 100, 5))
"""IoU, in hundredths, at which a segment and a true object may be one."""


@dataclass(frozen=True)
class Matching:
    """How many objects are found, and how well. Perfect is 1; a ratio of nothing to nothing is 1."""

    threshold: float
    """Fragments were merged above this score; nan if not known."""

    average_precision: dict[str, float]
    """By IoU from 0.50 to 0.95: found, of found, missed and invented objects (Caicedo et al. 2019)."""

    mean_average_precision: float
    """The mean of these."""

    segmentation_quality: float
    """The mean IoU of the objects found at 0.5; 0 if none is."""

    recognition_quality: float
    """F1 of the objects at 0.5."""

    panoptic_quality: float
    """The product of both (Kirillov et al. 2019)."""


@dataclass(frozen=True)
class Pairs:
    """Segments and true objects that share more than half of the union of both, a row for each such pair."""

    segment: np.ndarray
    """(n,) uint64."""
    truth: np.ndarray
    """(n,) uint64."""
    shared: np.ndarray
    """(n,) uint64, voxels in both."""
    union: np.ndarray
    """(n,) uint64, voxels in either."""
    segments: int
    """Segments with an evaluated voxel."""


def matched_pairs(table: np.ndarray, truths: Truths) -> Pairs:
    """The pairs of some segments; of each object one at most. table: OVERLAP of segments, in any order."""
    rows = evaluated(table, truths)
    sizes = total_by(rows.segment, rows.voxels, len(rows.segment_ids))
    union = sizes[rows.segment] + truths.sizes[rows.truth] - rows.voxels
    chosen = (rows.segment_ids[rows.segment] > 0) & (truths.ids[rows.truth] > 0) & (2 * rows.voxels > union)
    return Pairs(
        rows.segment_ids[rows.segment[chosen]],
        truths.ids[rows.truth[chosen]],
        rows.voxels[chosen],
        union[chosen],
        int(np.count_nonzero(rows.segment_ids)),
    )


def matching(boxes: Sequence[Pairs], truths: Truths, threshold: float) -> Matching:
    """The scores of the objects of one segmentation, from the pairs of all boxes. threshold: only noted.

    Objects are one from an IoU on; at 0.5 it must be larger, so that none belongs to two.
    """
    # Products of voxels may exceed 64 bits.
    shared, union = (
        np.concatenate([getattr(pairs, name) for pairs in boxes]).astype(object) for name in ("shared", "union")
    )
    segments = sum(pairs.segments for pairs in boxes)
    precision = {}
    for percent in PERCENTS:
        found = int(np.count_nonzero(100 * shared >= percent * union))
        others = segments + truths.objects - found
        precision[f"{percent / 100:.2f}"] = found / others if others else 1.0
    count = len(shared)
    quality = math.fsum((shared / union).tolist()) / count if count else 0.0
    objects = segments + truths.objects
    recognition = 2 * count / objects if objects else 1.0
    panoptic = quality * recognition if objects else 1.0
    mean = math.fsum(precision.values()) / len(precision)
    return Matching(threshold, precision, mean, quality if objects else 1.0, recognition, panoptic)
