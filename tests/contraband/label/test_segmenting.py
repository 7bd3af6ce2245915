"""Segments of a box in memory, as the labelling page shows them."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.label.segmenting import segment_box
from contraband.volumes.settings import VolumeSettings
from tests.support.volumes import NEAREST, cells

LEAST = 120
OFFSETS = [tuple(offset) for offset in NEAREST]


def segmented(shape: tuple[int, int, int], min_voxels: int) -> np.ndarray:
    """Segments of a box of noisy cells, in sections by themselves if it is one section."""
    affinities, _ = cells(shape, spacing=5)
    settings = {
        "output": "out.zarr",
        "fragments": {"per_section": shape[0] == 1},
        "segment": {"min_voxels": min_voxels, "thresholds": [0.8]},
    }
    return segment_box(affinities, OFFSETS, VolumeSettings.parse(settings, "test"))


def numbers_at_faces(ids: np.ndarray) -> set[int]:
    """Those that reach a face beyond which the volume may go on: of a section by itself there are four."""
    axes = (1, 2) if len(ids) == 1 else (0, 1, 2)
    return {int(number) for axis in axes for number in np.unique(np.take(ids, [0, -1], axis))}


@pytest.mark.parametrize("shape", [(1, 80, 90), (20, 40, 30)])
def test_small_pieces_are_joined_where_they_are_seen_whole(shape: tuple[int, int, int]) -> None:
    """By `segment.min_voxels`, as in a run; what reaches the edge of the box may go on there, and stays as it is."""
    before, after = segmented(shape, 0), segmented(shape, LEAST)
    sizes = dict(zip(*np.unique(before, return_counts=True), strict=True))
    at_faces = numbers_at_faces(before)
    assert any(size < LEAST for number, size in sizes.items() if number not in at_faces)
    assert any(size < LEAST for number, size in sizes.items() if number in at_faces)
    found = dict(zip(*np.unique(after, return_counts=True), strict=True))
    small = {int(number) for number, size in found.items() if number and size < LEAST}
    assert small
    assert small <= numbers_at_faces(after)
    pairs = np.unique(np.stack([before.ravel(), after.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]  # pieces are joined, and none is cut
