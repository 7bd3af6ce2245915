"""The Hausdorff distance of matched objects against that of scipy between all their voxels, in any blocks."""

from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Roi
from scipy.spatial.distance import directed_hausdorff

from blockwise.grid import Grid
from contraband.volumes.hausdorff import distances

SHAPE = (9, 30, 34)
SIZE = (40.0, 10.0, 5.0)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Boxes, and segments that are shifted, hollow, or have a thin arm."""
    shifts = [(0, 0, 0), (1, 0, 2), (0, 3, 0), (0, 0, 1)]
    truth, segments = np.zeros((2, *SHAPE), np.uint64)
    corners = [(1, 2), (1, 18), (16, 2), (16, 18)]
    for number, ((y, x), shift) in enumerate(zip(corners, shifts, strict=True), start=1):
        truth[1:8, y : y + 12, x : x + 14] = number
        segments[1 + shift[0] : 8, y + shift[1] : y + 12, x + shift[2] : x + 14] = 10 * number
    segments[3:5, 5:8, 6:9] = 0  # hollow: the worst voxel lies inside
    segments[4, 4, 16:30][segments[4, 4, 16:30] == 0] = 10
    return segments, truth


@pytest.mark.parametrize("block", [SHAPE, (4, 7, 11)])
def test_distances_are_those_between_all_voxels(block):
    """For each matched pair the larger of both directed distances, in the unit of the voxel size."""
    segments, truth = scene()

    def load(region: Roi) -> tuple[np.ndarray, np.ndarray]:
        inside = region.to_slices()
        return segments[inside].copy(), truth[inside].copy()

    found = distances(load, Grid("test", SHAPE, block), Roi((0, 0, 0), SHAPE), SIZE)
    assert [one.truth for one in found] == [1, 2, 3, 4]
    for one in found:
        ours, theirs = segments == one.segment, truth == one.truth
        a, b = (np.argwhere(mask) * np.array(SIZE) for mask in (ours, theirs))
        expected = max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0])
        assert one.hausdorff == pytest.approx(expected)
        assert one.iou == pytest.approx((ours & theirs).sum() / (ours | theirs).sum())
    assert len({one.hausdorff for one in found}) > 2
