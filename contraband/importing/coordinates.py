"""Coordinates along each axis, as NetCDF and xarray store them beside an array: those of the centres of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blockwise.arrays.space import Said, Space


@dataclass(frozen=True)
class Along:
    """What is known along one axis."""

    name: str | None = None
    step: float | None = None
    """From one voxel to the next; None if the coordinates are not even, or say nothing."""
    first: float | None = None
    """The coordinate of the first voxel."""
    unit: str | None = None


def along(name: str | None, values: np.ndarray, unit: object) -> Along:
    """What the coordinates of an axis say; values: (n,) of numbers.

    Whole numbers without a unit only count: libraries write them where there are no coordinates.
    """
    if values.ndim != 1 or values.dtype.kind not in "iuf" or len(values) < 2:
        return Along(name)
    steps = np.diff(values.astype(float))
    if steps[0] <= 0 or not np.allclose(steps, steps[0], rtol=1e-3) or (unit is None and values.dtype.kind != "f"):
        return Along(name)
    return Along(name, float(steps.mean()), float(values[0]), unit if isinstance(unit, str) else None)


def space_of_coordinates(axes: Sequence[Along], where: str) -> Space:
    """Axes, steps and place by coordinates; where: who says so."""
    names = tuple(axis.name for axis in axes)
    sizes = [axis.step for axis in axes]
    places = [None if axis.step is None or axis.first is None else axis.first - axis.step / 2 for axis in axes]
    units = [axis.unit for axis in axes]
    return Space(
        Said(names, where) if any(names) else None,
        Said(sizes, where) if any(sizes) else None,
        Said(places, where) if any(sizes) else None,
        Said(units, where) if any(units) else None,
    )
