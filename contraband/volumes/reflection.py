"""What a network sees beyond the border of a volume: the volume, mirrored at its border voxels."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockwise.arrays.volume import Volume, read
from blockwise.grid import Voxels


def read_reflected(volume: Volume, roi: Roi, shape: Voxels) -> np.ndarray:
    """([C,] z, y, x) of `roi`, which may reach outside: there the volume is mirrored at its border voxels."""
    index = reflected(roi, shape)
    low = Coordinate(int(places.min()) for places in index)
    high = Coordinate(int(places.max()) + 1 for places in index)
    data = read(volume, Roi(low, high - low))
    for axis, places in enumerate(index):
        if roi.begin[axis] != low[axis] or roi.end[axis] != high[axis]:
            data = data.take(places - low[axis], axis - 3)
    return np.ascontiguousarray(data)


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
