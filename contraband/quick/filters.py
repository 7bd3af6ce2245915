# mypy: allow-untyped-defs
"""The filters that Gaussian features are made of, compiled. Each result is smaller than what it is made from.

Sums are float32, each in one order that knows nothing of where the array begins; eigenvalues are found in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockwise.kernels.compiled import compiled

CHUNK = 2048
"""Numbers of a row that are summed at a time, so that they stay in the cache."""


def blur(values: NDArray[np.float32], kernels: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(z, y, x) float32 smoothed along each axis; each loses the radius of its kernel on either side.

    kernels: half of each, its middle first, along z, y, x.
    """
    for axis in range(3):  # z first: later axes then have less to do
        half = kernels[axis]
        if len(half) == 1:
            continue
        shape = values.shape
        before, behind = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        if axis == 2:
            values = _blur_last(values.reshape(before, shape[2]), half)
        else:
            values = _blur_middle(values.reshape(before, shape[axis], behind), half)
        values = values.reshape(*shape[:axis], shape[axis] - 2 * (len(half) - 1), *shape[axis + 1 :])
    return values


@compiled
def _add(row, weight, left, right):
    """Add what lies as far to the left and to the right."""
    for place in range(len(row)):
        row[place] += weight * (left[place] + right[place])


@compiled
def eigenvalues_of_2(yy, yx, xx):
    """Both eigenvalues of a symmetric 2 x 2 matrix, the larger first."""
    middle = (np.float64(yy) + xx) / 2
    apart = math.sqrt(((np.float64(yy) - xx) / 2) ** 2 + np.float64(yx) ** 2)
    return middle + apart, middle - apart


@compiled
def eigenvalues_of_3(zz, yy, xx, zy, zx, yx):
    """The eigenvalues of a symmetric 3 x 3 matrix, largest first, by the cosines of a third of an angle."""
    mean = (np.float64(zz) + yy + xx) / 3
    a, b, c = zz - mean, yy - mean, xx - mean
    d, e, f = np.float64(zy), np.float64(zx), np.float64(yx)
    size = math.sqrt((a * a + b * b + c * c + 2 * (d * d + e * e + f * f)) / 6)
    if size == 0:
        return mean, mean, mean
    turned = (a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)) / (2 * size**3)
    angle = math.acos(min(1.0, max(-1.0, turned))) / 3
    largest = mean + 2 * size * math.cos(angle)
    least = mean + 2 * size * math.cos(angle + 2 * math.pi / 3)
    return largest, 3 * mean - largest - least, least


@compiled
def _blur_middle(values, half):
    """(A, N, B) smoothed along N."""
    radius = len(half) - 1
    outer, length, inner = values.shape
    result = np.empty((outer, length - 2 * radius, inner), np.float32)
    for a in range(outer):
        for low in range(0, inner, CHUNK):
            high = min(inner, low + CHUNK)
            for n in range(length - 2 * radius):
                middle = n + radius
                row = result[a, n, low:high]
                row[:] = half[0] * values[a, middle, low:high]
                for step in range(1, radius + 1):
                    _add(row, half[step], values[a, middle - step, low:high], values[a, middle + step, low:high])
    return result


@compiled
def _blur_last(values, half):
    """(A, N) smoothed along N."""
    radius = len(half) - 1
    outer, length = values.shape
    kept = length - 2 * radius
    result = np.empty((outer, kept), np.float32)
    for a in range(outer):
        row = result[a]
        row[:] = half[0] * values[a, radius : radius + kept]
        for step in range(1, radius + 1):
            left, right = radius - step, radius + step
            _add(row, half[step], values[a, left : left + kept], values[a, right : right + kept])
    return result


@compiled
def derivatives_2d(smooth, result):
    """Write gradient magnitude, Laplacian, both eigenvalues of the Hessian: (4, z, y, x) from (z, y + 2, x + 2)."""
    half = np.float32(0.5)
    depth, height, width = smooth.shape
    for z in range(depth):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                here = smooth[z, y, x]
                gy = half * (smooth[z, y + 1, x] - smooth[z, y - 1, x])
                gx = half * (smooth[z, y, x + 1] - smooth[z, y, x - 1])
                yy = (smooth[z, y + 1, x] - here) - (here - smooth[z, y - 1, x])
                xx = (smooth[z, y, x + 1] - here) - (here - smooth[z, y, x - 1])
                upper = smooth[z, y + 1, x + 1] - smooth[z, y + 1, x - 1]
                lower = smooth[z, y - 1, x + 1] - smooth[z, y - 1, x - 1]
                yx = np.float32(0.25) * (upper - lower)
                result[0, z, y - 1, x - 1] = math.sqrt(gy * gy + gx * gx)
                result[1, z, y - 1, x - 1] = yy + xx
                large, small = eigenvalues_of_2(yy, yx, xx)
                result[2, z, y - 1, x - 1] = large
                result[3, z, y - 1, x - 1] = small


@compiled
def tensor_2d(smooth):
    """Products of the gradient's components, yy, yx, xx: (3, z, y, x) from (z, y + 2, x + 2)."""
    half = np.float32(0.5)
    depth, height, width = smooth.shape
    result = np.empty((3, depth, height - 2, width - 2), np.float32)
    for z in range(depth):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                gy = half * (smooth[z, y + 1, x] - smooth[z, y - 1, x])
                gx = half * (smooth[z, y, x + 1] - smooth[z, y, x - 1])
                result[0, z, y - 1, x - 1] = gy * gy
                result[1, z, y - 1, x - 1] = gy * gx
                result[2, z, y - 1, x - 1] = gx * gx
    return result


@compiled
def derivatives_3d(smooth, along_z, result):
    """Write gradient magnitude, Laplacian, three eigenvalues of the Hessian: (5, z, y, x) from two more on each axis.

    along_z: what a difference along z is multiplied with.
    """
    half, quarter = np.float32(0.5), np.float32(0.25)
    depth, height, width = smooth.shape
    for z in range(1, depth - 1):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                one, row, here = smooth[z], smooth[z, y], smooth[z, y, x]
                gz = along_z * (half * (smooth[z + 1, y, x] - smooth[z - 1, y, x]))
                gy = half * (one[y + 1, x] - one[y - 1, x])
                gx = half * (row[x + 1] - row[x - 1])
                zz = along_z * along_z * ((smooth[z + 1, y, x] - here) - (here - smooth[z - 1, y, x]))
                yy = (one[y + 1, x] - here) - (here - one[y - 1, x])
                xx = (row[x + 1] - here) - (here - row[x - 1])
                above, below = smooth[z + 1], smooth[z - 1]
                zy = along_z * (quarter * ((above[y + 1, x] - above[y - 1, x]) - (below[y + 1, x] - below[y - 1, x])))
                zx = along_z * (quarter * ((above[y, x + 1] - above[y, x - 1]) - (below[y, x + 1] - below[y, x - 1])))
                yx = quarter * ((one[y + 1, x + 1] - one[y + 1, x - 1]) - (one[y - 1, x + 1] - one[y - 1, x - 1]))
                place = result[:, z - 1, y - 1, x - 1]
                place[0] = math.sqrt(gz * gz + gy * gy + gx * gx)
                place[1] = zz + yy + xx
                place[2], place[3], place[4] = eigenvalues_of_3(zz, yy, xx, zy, zx, yx)


@compiled
def tensor_3d(smooth, along_z):
    """Products of the gradient's components, zz, yy, xx, zy, zx, yx: (6, z, y, x) from two more on each axis."""
    half = np.float32(0.5)
    depth, height, width = smooth.shape
    result = np.empty((6, depth - 2, height - 2, width - 2), np.float32)
    for z in range(1, depth - 1):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                gz = along_z * (half * (smooth[z + 1, y, x] - smooth[z - 1, y, x]))
                gy = half * (smooth[z, y + 1, x] - smooth[z, y - 1, x])
                gx = half * (smooth[z, y, x + 1] - smooth[z, y, x - 1])
                result[0, z - 1, y - 1, x - 1] = gz * gz
                result[1, z - 1, y - 1, x - 1] = gy * gy
                result[2, z - 1, y - 1, x - 1] = gx * gx
                result[3, z - 1, y - 1, x - 1] = gz * gy
                result[4, z - 1, y - 1, x - 1] = gz * gx
                result[5, z - 1, y - 1, x - 1] = gy * gx
    return result


@compiled
def eigenvalues(tensor, result):
    """Write the eigenvalues of symmetric tensors, largest first: (2 or 3, z, y, x).

    tensor: (3, z, y, x) of yy, yx, xx, or (6, z, y, x) of zz, yy, xx, zy, zx, yx.
    """
    components, depth, height, width = tensor.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                found = tensor[:, z, y, x]
                place = result[:, z, y, x]
                if components == 3:
                    place[0], place[1] = eigenvalues_of_2(found[0], found[1], found[2])
                else:
                    place[0], place[1], place[2] = eigenvalues_of_3(
                        found[0], found[1], found[2], found[3], found[4], found[5]
                    )
