"""Objects against objects at one threshold: average precision, panoptic quality, and which belongs to which."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from blockwise.kernels.scores.tables import Truths, evaluated, total_by

PERCENTS = tuple(range(50, 100, 5))
"""IoU, in hundredths, at which a segment and a true object may be one."""
PER_IOU = 1 << 53
"""What an IoU above a half is a whole number of."""


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


@dataclass(frozen=True)
class Matches:
    """What scores of objects are made of, in whole numbers: those of a volume are the sums of those of its boxes."""

    segments: int
    """Segments with an evaluated voxel."""
    found: tuple[int, ...]
    """Pairs with at least each of the PERCENTS."""
    matched: int
    """All pairs: with more than a half."""
    iou: int
    """Of all pairs together, in units of 1 / PER_IOU."""

    def __add__(self, other: Matches) -> Matches:
        found = tuple(one + more for one, more in zip(self.found, other.found, strict=True))
        return Matches(self.segments + other.segments, found, self.matched + other.matched, self.iou + other.iou)


NO_MATCHES = Matches(0, (0,) * len(PERCENTS), 0, 0)
"""Those of no segment."""


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


def matches_of(pairs: Pairs) -> Matches:
    """What the scores of these pairs are made of."""
    # Products of voxels may exceed 64 bits.
    shared, union = pairs.shared.astype(object), pairs.union.astype(object)
    found = tuple(int(np.count_nonzero(100 * shared >= percent * union)) for percent in PERCENTS)
    # Between a half and 1 doubles are whole multiples of a unit, so that their sum does not depend on an order.
    iou = sum(int(one * PER_IOU) for one in (shared / union).tolist())
    return Matches(pairs.segments, found, len(shared), iou)


def matching(matches: Matches, truths: Truths, threshold: float) -> Matching:
    """The scores of the objects of one segmentation. threshold: only noted.

    Objects are one from an IoU on; at 0.5 it must be larger, so that none belongs to two.
    """
    precision = {}
    for percent, found in zip(PERCENTS, matches.found, strict=True):
        others = matches.segments + truths.objects - found
        precision[f"{percent / 100:.2f}"] = found / others if others else 1.0
    quality = matches.iou / PER_IOU / matches.matched if matches.matched else 0.0
    objects = matches.segments + truths.objects
    recognition = 2 * matches.matched / objects if objects else 1.0
    panoptic = quality * recognition if objects else 1.0
    mean = math.fsum(precision.values()) / len(precision)
    return Matching(threshold, precision, mean, quality if objects else 1.0, recognition, panoptic)
