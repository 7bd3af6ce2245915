# mypy: allow-untyped-defs
"""How brightness curves: the largest eigenvalue of the second derivatives, which is positive between two objects."""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from contraband.quick.filters import eigenvalues_of_2, eigenvalues_of_3


@compiled
def largest_curvature_2d(smooth):
    """The larger eigenvalue of the Hessian along y and x: (z, y, x) from (z, y + 2, x + 2)."""
    depth, height, width = smooth.shape
    result = np.empty((depth, height - 2, width - 2), np.float32)
    quarter = np.float32(0.25)
    for z in range(depth):
        for y in range(1, height - 1):
            above, here, below = smooth[z, y - 1], smooth[z, y], smooth[z, y + 1]
            for x in range(1, width - 1):
                yy = (below[x] - here[x]) - (here[x] - above[x])
                xx = (here[x + 1] - here[x]) - (here[x] - here[x - 1])
                yx = quarter * ((below[x + 1] - below[x - 1]) - (above[x + 1] - above[x - 1]))
                result[z, y - 1, x - 1] = eigenvalues_of_2(yy, yx, xx)[0]
    return result


@compiled
def largest_curvature_3d(smooth, along_z):
    """The largest eigenvalue of the Hessian: (z, y, x) from two more on each axis.

    along_z: what a difference along z is multiplied with.
    """
    depth, height, width = smooth.shape
    result = np.empty((depth - 2, height - 2, width - 2), np.float32)
    quarter = np.float32(0.25)
    for z in range(1, depth - 1):
        before, one, after = smooth[z - 1], smooth[z], smooth[z + 1]
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                here = one[y, x]
                zz = along_z * along_z * ((after[y, x] - here) - (here - before[y, x]))
                yy = (one[y + 1, x] - here) - (here - one[y - 1, x])
                xx = (one[y, x + 1] - here) - (here - one[y, x - 1])
                zy = along_z * (quarter * ((after[y + 1, x] - after[y - 1, x]) - (before[y + 1, x] - before[y - 1, x])))
                zx = along_z * (quarter * ((after[y, x + 1] - after[y, x - 1]) - (before[y, x + 1] - before[y, x - 1])))
                yx = quarter * ((one[y + 1, x + 1] - one[y + 1, x - 1]) - (one[y - 1, x + 1] - one[y - 1, x - 1]))
                result[z - 1, y - 1, x - 1] = eigenvalues_of_3(zz, yy, xx, zy, zx, yx)[0]
    return result
