"""Raw as networks read it: mirrored at the borders of the volume, and how bright it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockwise.arrays.values import check_finite
from blockwise.arrays.volume import Volume, info, read
from blockwise.grid import Voxels
from contraband.models.normalise import Levels, Percentiles, is_about_one, measure, slab_depth

log = logging.getLogger(__name__)

MIDDLE = (17, 129, 129)
"""Voxels in the middle of raw whose brightness is looked at."""


def brightness_remarks(raw: Volume, factor: float) -> Iterator[str]:
    """A line if raw in the middle of the volume, times `factor`, is not of the range that networks are trained on."""
    box = Roi((0, 0, 0), info(raw).spatial)
    around = (Coordinate(MIDDLE) - 1) / 2
    values = read(raw, Roi(box.center, (1, 1, 1)).grow(around, around).intersect(box))
    low = float(values.min())
    high = float(values.max())
    if not is_about_one(max(abs(low), abs(high)) * factor):
        seen = f"raw is {low:.6g} to {high:.6g} in the middle"
        yield f"{raw.path}: {seen}, and the network multiplies it by {factor:.6g}: not about 0..1"


def read_reflected(volume: Volume, roi: Roi, shape: Voxels) -> np.ndarray:
    """The voxels of `roi`, which may reach outside: there the volume is mirrored at its border voxels."""
    index = reflected(roi, shape)
    low = Coordinate(int(places.min()) for places in index)
    high = Coordinate(int(places.max()) + 1 for places in index)
    data = read(volume, Roi(low, high - low))
    for axis, places in enumerate(index):
        if roi.begin[axis] != low[axis] or roi.end[axis] != high[axis]:
            data = data.take(places - low[axis], axis)
    return np.ascontiguousarray(data)


def volume_levels(raw: Volume, wanted: Percentiles) -> Levels:
    """What becomes 0 and 1 in raw; reads all of it once."""
    described = info(raw)
    sections, y, x = described.spatial
    depth = slab_depth(described.chunks[-3], y * x * described.dtype.itemsize)

    def slab(low: int, high: int) -> np.ndarray:
        values = read(raw, Roi((low, 0, 0), (high - low, y, x)))
        check_finite(values, f"{raw.path}, sections {low} to {high - 1}", (low, 0, 0))
        return values[None]

    levels = measure(slab, sections, wanted, depth)
    if np.all(levels.values[..., 0] == levels.values[..., 1]):
        log.warning("%s: raw has no contrast: between the percentiles there is one value only", raw.path)
    return levels


def array_levels(raw: np.ndarray, wanted: Percentiles) -> Levels:
    """What becomes 0 and 1 in an array (z, y, x)."""
    depth = slab_depth(64, raw[0].nbytes)  # as chunks of a stored volume are deep
    return measure(lambda low, high: raw[None, low:high], len(raw), wanted, depth)


def reflected(roi: Roi, shape: Voxels) -> list[np.ndarray]:
    """The voxels along z, y, x that stand for those of `roi`, which may reach outside of a volume of that shape."""
    return [reflect(begin, end, size) for begin, end, size in zip(roi.begin, roi.end, shape, strict=True)]


def reflect(begin: int, end: int, size: int) -> np.ndarray:
    """Positions begin..end-1 folded into 0..size-1, mirrored at the first and the last."""
    if size == 1:
        return np.zeros(end - begin, np.int64)
    period = 2 * (size - 1)
    place = np.abs(np.arange(begin, end, dtype=np.int64)) % period
    folded: np.ndarray = np.minimum(place, period - place)
    return folded
