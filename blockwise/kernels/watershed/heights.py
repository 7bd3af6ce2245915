# mypy: allow-untyped-defs
"""The height of every voxel: its nearest affinities summed and smoothed, in integers of bounded support."""

from __future__ import annotations

from typing import Any

import numpy as np

from blockwise.kernels.compiled import compiled

UNITS = 64
"""What the integer weights of a smoothing kernel sum to."""


def kernel_weights(sigma: float) -> np.ndarray:
    """Integer Gaussian weights (radius + 1,) int32 of the centre and each distance; both sides sum to UNITS.

    Weights that round to 0 are left out, so the radius is about 2.5 sigma; [UNITS] if sigma is 0.
    """
    if sigma <= 0:
        return np.array([UNITS], np.int32)
    reach = np.arange(int(4 * sigma) + 2)
    bell = np.exp(-(reach**2) / (2 * sigma**2))
    side: np.ndarray = np.round(UNITS * bell / (2 * bell.sum() - 1)).astype(np.int32)
    side = side[: int(np.flatnonzero(side[1:]).max(initial=-1)) + 2]
    side[0] = UNITS - 2 * int(side[1:].sum())
    return side


def height_shift(dtype: np.dtype[Any]) -> int:
    """Bits dropped before the last smoothing pass, so that twice the highest height stays below 2**31."""
    return 7 if dtype.itemsize > 1 else 0


def highest(full: int, axes: int, dtype: np.dtype[Any]) -> int:
    """The height where all affinities are `full`."""
    return ((2 * axes * full * UNITS**2) >> height_shift(dtype)) * UNITS


@compiled
def _mirror(index, length):
    """The index reflected at both ends, edge voxels repeated, as often as needed."""
    index = index % (2 * length)
    return index if index < length else 2 * length - 1 - index


@compiled
def _sum_row(affinities, at_start, axes, z, y, row):
    """Write into `row` the sum of the affinities of each voxel with its neighbours along the used axes."""
    nz, ny, nx = affinities.shape[1:]
    row[:] = 0
    # An affinity belongs to two voxels: a voxel has its own and that of the next one. Where the box ends there is no
    # next one, and its own counts twice; where the volume begins the first is void, and the next one counts twice.
    if axes[0]:
        low = affinities[0, 1 if z == 0 and at_start[0] else z, y]
        high = affinities[0, min(z + 1, nz - 1), y]
        for x in range(nx):
            row[x] += np.int32(low[x]) + np.int32(high[x])
    if axes[1]:
        low = affinities[1, z, 1 if y == 0 and at_start[1] else y]
        high = affinities[1, z, min(y + 1, ny - 1)]
        for x in range(nx):
            row[x] += np.int32(low[x]) + np.int32(high[x])
    if axes[2]:
        line = affinities[2, z, y]
        high, inner = line[1:], row[: nx - 1]
        for x in range(nx - 1):
            inner[x] += np.int32(line[x]) + np.int32(high[x])
        row[nx - 1] += 2 * np.int32(line[nx - 1])
        if at_start[2]:
            row[0] += np.int32(line[1]) - np.int32(line[0])


@compiled
def _smooth_row(row, padded, weights, target):
    """Write the row smoothed along x into `target`; `padded` is scratch, 2 radius longer."""
    length, radius = len(row), len(weights) - 1
    padded[radius : radius + length] = row
    for step in range(1, radius + 1):
        padded[radius - step] = row[_mirror(-step, length)]
        padded[radius + length - 1 + step] = row[_mirror(length - 1 + step, length)]
    for x in range(length):
        target[x] = weights[0] * row[x]
    for step in range(1, radius + 1):
        low, high = padded[radius - step :], padded[radius + step :]
        weight = weights[step]
        for x in range(length):
            target[x] += weight * (low[x] + high[x])


@compiled
def _mix_rows(rows, position, weights, target):
    """Write into `target` the rows (n, x) around `position` mixed by weight; the ends reflect."""
    length = rows.shape[0]
    centre = rows[position]
    for x in range(len(target)):
        target[x] = weights[0] * centre[x]
    for step in range(1, len(weights)):
        low = rows[_mirror(position - step, length)]
        high = rows[_mirror(position + step, length)]
        weight = weights[step]
        for x in range(len(target)):
            target[x] += weight * (low[x] + high[x])


@compiled
def _heights(affinities, at_start, axes, weights, shift, cap, planes, result):
    """Write the heights into `result`; `planes` is scratch of the same shape."""
    in_z, in_y, in_x = weights
    nz, ny, nx = affinities.shape[1:]
    # The Gaussian is a product of one for each axis. Integers make each sum exact in any order, so that a voxel has the
    # same height in every box that holds its support.
    row = np.empty(nx, np.int32)
    padded = np.empty(nx + 2 * len(in_x), np.int32)
    plane = np.empty((ny, nx), np.int32)
    # Rows and planes first, while a plane is in the cache. Bits are dropped before the last pass, not after, as its
    # sums would not fit 32 bits; each voxel drops its own, so that boxes still agree.
    for z in range(nz):
        for y in range(ny):
            _sum_row(affinities, at_start, axes, z, y, row)
            _smooth_row(row, padded, in_x, plane[y])
        for y in range(ny):
            target = planes[z, y]
            _mix_rows(plane, y, in_y, target)
            for x in range(nx):
                target[x] >>= shift
    # Across planes row by row, so that memory is read along x.
    for z in range(nz):
        for y in range(ny):
            target = result[z, y]
            _mix_rows(planes[:, y], z, in_z, target)
            for x in range(nx):
                target[x] = min(target[x], cap)


def heights(
    affinities: np.ndarray, at_start: np.ndarray, axes: np.ndarray, weights: np.ndarray, cap: int
) -> np.ndarray:
    """Height of each voxel, (z, y, x) int32 from 0 to `cap`, exact wherever its support lies in the box.

    affinities: (3, z, y, x) uint8 or uint16; channel d joins a voxel and the one before it along d.
    at_start:   (3,) bool, whether the box begins where the volume does: its first affinity is void.
    axes:       (3,) bool, along which voxels are neighbours; the others are neither summed nor smoothed.
    weights:    from `kernel_weights`. The ends of the box reflect, as they must at the ends of the volume.
    """
    alone = np.array([UNITS], np.int32)
    along = tuple(weights if axis else alone for axis in axes)
    planes, result = (np.empty(affinities.shape[1:], np.int32) for _ in range(2))
    _heights(affinities, at_start, axes, along, height_shift(affinities.dtype), cap, planes, result)
    return result


@compiled
def _brightest(affinities, at_start, axes):
    shape = affinities.shape[1:]
    result = np.zeros(shape, affinities.dtype)
    for axis in range(3):
        if not axes[axis]:
            continue
        dz = axis == 0
        dy = axis == 1
        dx = axis == 2
        for z in range(shape[0]):
            for y in range(shape[1]):
                for x in range(shape[2]):
                    value = affinities[axis, z, y, x]
                    inside = z >= dz and y >= dy and x >= dx
                    if inside:
                        result[z, y, x] = max(result[z, y, x], value)
                        before = result[z - dz, y - dy, x - dx]
                        result[z - dz, y - dy, x - dx] = max(before, value)
                    elif not at_start[axis]:
                        result[z, y, x] = max(result[z, y, x], value)
    return result


def largest_affinity(affinities: np.ndarray, at_start: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """The largest affinity of each voxel with a nearest neighbour, (z, y, x); arguments as for `heights`."""
    result: np.ndarray = _brightest(affinities, at_start, axes)
    return result
