"""Where the browser looks and points, in voxels of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from funlib.geometry import Roi

from blockwise.grid import Voxels, as_voxels


def visible_box(middle: Voxels, wanted: Voxels, shape: Voxels, before: Roi | None) -> Roi:
    """The box around the middle of the view; the one before, while the view has moved by less than a quarter.

    wanted: its extents, where the image is so large.
    """
    size = as_voxels(min(one, whole) for one, whole in zip(wanted, shape, strict=True))
    if before is not None:
        moved = np.abs(np.array(middle) - np.array(before.begin) - np.array(before.shape) // 2)
        if np.all(moved <= np.array(size) // 4) and before.contains(Roi(middle, (1, 1, 1))):
            return before
    low = [min(max(0, at - one // 2), whole - one) for at, one, whole in zip(middle, size, shape, strict=True)]
    return Roi(low, size)


def middle_of(state: Any, first: Sequence[float], shape: Voxels) -> Voxels:
    """The voxel of the image that is nearest to the middle of the view; before there is a view, the image's own.

    first: the viewer's number of the first voxel.
    """
    position = state.position
    names = list(state.dimensions.names) if state.dimensions is not None else []
    if position is None or len(position) != len(names) or not {"z", "y", "x"} <= set(names):
        return as_voxels(size // 2 for size in shape)
    found = [position[names.index(axis)] for axis in "zyx"]
    at = [int(np.floor(one - begin)) for one, begin in zip(found, first, strict=True)]
    return as_voxels(min(max(0, one), size - 1) for one, size in zip(at, shape, strict=True))


def under_mouse(state: Any, first: Sequence[float]) -> Voxels | None:
    """The voxel under the mouse, which may lie outside of the image; None if the mouse is on no image."""
    position, dimensions = state.mouse_voxel_coordinates, state.viewer_state.dimensions
    names = list(dimensions.names) if dimensions is not None else ["z", "y", "x"]
    if position is None or len(position) != len(names) or not np.all(np.isfinite(position)):
        return None
    found = [position[names.index(axis)] for axis in "zyx"]
    return as_voxels(int(np.floor(one - begin)) for one, begin in zip(found, first, strict=True))
