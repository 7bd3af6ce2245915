# mypy: allow-untyped-defs
"""Images and labels made smaller by whole factors: the mean, or the number that most voxels have.

Windows are anchored at the first voxel. One that the end of the array cuts off has the voxels that are left.
"""

from __future__ import annotations

import numpy as np

from blockwise.grid import Voxels
from blockwise.kernels.compiled import compiled


def shrink_mean(data: np.ndarray, step: Voxels) -> np.ndarray:
    """The mean of each window, of the type of `data`; that of integers is exact and rounded half up.

    data: ([channel,] z, y, x), integers of at most 32 bits, truth values or floats. Floats are added in one order, as
    float64.
    """
    kind = data.dtype.kind
    total = data.astype(np.float64) if kind == "f" else data
    count = np.ones((1, 1, 1), np.int64)
    for axis, factor in zip((-3, -2, -1), step, strict=True):
        starts = np.arange(0, data.shape[axis], factor)
        total = np.add.reduceat(total, starts, axis=axis, dtype=np.float64 if kind == "f" else np.int64)
        lengths = np.minimum(starts + factor, data.shape[axis]) - starts
        count = count * lengths.reshape([-1 if one == axis else 1 for one in (-3, -2, -1)])
    mean = total / count if kind == "f" else (2 * total + count) // (2 * count)
    smaller: np.ndarray = mean.astype(data.dtype)
    return smaller


def shrink_majority(labels: np.ndarray, step: Voxels) -> np.ndarray:
    """The number that most voxels of each window have, the smallest of those that are equally frequent.

    labels: (z, y, x) unsigned integers.
    """
    shape = tuple(-(-size // factor) for size, factor in zip(labels.shape, step, strict=True))
    smaller = np.empty(shape, labels.dtype)
    _majority(np.ascontiguousarray(labels), step, smaller)
    return smaller


@compiled
def _majority(labels, step, smaller):
    """Fill `smaller`; most windows lie within one object, which costs one pass over them."""
    window = np.empty(step[0] * step[1] * step[2], labels.dtype)
    for z in range(smaller.shape[0]):
        for y in range(smaller.shape[1]):
            for x in range(smaller.shape[2]):
                size = 0
                is_mixed = False
                for iz in range(z * step[0], min((z + 1) * step[0], labels.shape[0])):
                    for iy in range(y * step[1], min((y + 1) * step[1], labels.shape[1])):
                        for ix in range(x * step[2], min((x + 1) * step[2], labels.shape[2])):
                            window[size] = labels[iz, iy, ix]
                            is_mixed |= window[size] != window[0]
                            size += 1
                smaller[z, y, x] = _most_frequent(window[:size]) if is_mixed else window[0]


@compiled
def _most_frequent(window):
    """The number that comes most often; sorted first, so that of equally frequent ones the smallest comes first."""
    window.sort()
    best, most, start = window[0], 0, 0
    for place in range(1, len(window) + 1):
        if place == len(window) or window[place] != window[start]:
            if place - start > most:
                best, most = window[start], place - start
            start = place
    return best
