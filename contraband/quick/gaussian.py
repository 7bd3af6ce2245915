"""Gaussian features at several scales, the same to the bit whatever the blocks are.

Kernels end at a fixed distance, and each voxel is the same sum in the same order wherever its block begins. Beyond its
edge the volume is mirrored at its border voxels.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from blockwise.grid import Voxels, as_voxels
from blockwise.settings import Settings
from contraband.quick.filters import blur, derivatives_2d, derivatives_3d, eigenvalues, tensor_2d, tensor_3d

GaussianScale = Annotated[float, Field(ge=0.3, le=32)]
Values = NDArray[np.float32]

TRUNCATE = 3.0
"""A kernel ends after so many standard deviations."""

OUTER = 0.5
"""The structure tensor is averaged over so many times the scale of its gradients."""


class GaussianFeatures(Settings):
    """Smoothed, gradient magnitude, Laplacian, eigenvalues of the Hessian and of the structure tensor, for each scale.

    Seven features a scale in 2D, where each section stands alone, and nine in 3D. Eigenvalues come largest first.

    Example:
        features = GaussianFeatures(scales=(1, 2, 4)).of(raw, dims=2)
    """

    scales: tuple[GaussianScale, ...] = (1.0, 2.0, 4.0)
    """Standard deviations of the Gaussians, in voxels along y and x."""

    z_scale: Annotated[float, Field(gt=0, le=4)] = 1.0
    """In 3D, voxels along z as long as one along x: 0.25 where sections are four voxels thick."""

    def count(self, dims: int) -> int:
        """Number of features."""
        return len(self.scales) * (7 if dims == 2 else 9)

    def halo(self, dims: int) -> Voxels:
        """Voxels needed around a region on each side, along z, y, x."""
        reach = [self._reach(scale, dims) for scale in self.scales]
        return as_voxels(max(one[axis] for one in reach) for axis in range(3))

    def of(self, raw: NDArray[np.generic], dims: int) -> Values:
        """Features (F, z, y, x) float32 of a whole volume (z, y, x), which is mirrored at its edge."""
        around = [(side, side) for side in self.halo(dims)]
        return self.within(np.pad(raw, around, mode="reflect"), dims)

    def within(self, raw: NDArray[np.generic], dims: int) -> Values:
        """Features (F, z, y, x) float32 of a region; raw (z, y, x) is the region and its halo on each side."""
        values = np.ascontiguousarray(raw, np.float32)
        halo = self.halo(dims)
        shape = tuple(size - 2 * side for size, side in zip(values.shape, halo, strict=True))
        result = np.empty((self.count(dims), *shape), np.float32)
        each = self.count(dims) // len(self.scales)
        for place, scale in enumerate(self.scales):
            own = self._reach(scale, dims)
            cropped = shrunk(values, as_voxels(more - less for more, less in zip(halo, own, strict=True)))
            self._at_scale(scale, dims, cropped, result[place * each : (place + 1) * each])
        return result

    def _at_scale(self, scale: float, dims: int, raw: Values, result: Values) -> None:
        """Write the features of one scale; raw has the halo of that scale."""
        smooth = blur(raw, self._kernels(scale, dims))
        outer = self._kernels(scale * OUTER, dims)
        margin = as_voxels(len(kernel) - 1 for kernel in outer)
        step = (0, 1, 1) if dims == 2 else (1, 1, 1)
        near = np.ascontiguousarray(shrunk(smooth, margin))
        result[0] = shrunk(near, step)
        if dims == 2:
            derivatives_2d(near, result[1:5])
            products = tensor_2d(smooth)
        else:
            derivatives_3d(near, np.float32(self.z_scale), result[1:6])
            products = tensor_3d(smooth, np.float32(self.z_scale))
        averaged = np.stack([blur(one, outer) for one in products])
        eigenvalues(averaged, result[5:] if dims == 2 else result[6:])

    def _kernels(self, scale: float, dims: int) -> list[Values]:
        """Half a kernel for each axis, its middle first."""
        along_z = gaussian(scale * self.z_scale) if dims == 3 else np.ones(1, np.float32)
        return [along_z, gaussian(scale), gaussian(scale)]

    def _reach(self, scale: float, dims: int) -> Voxels:
        """The halo of one scale: its kernel, one voxel for differences, the kernel of the structure tensor."""
        inner, outer = self._kernels(scale, dims), self._kernels(scale * OUTER, dims)
        step = (0, 1, 1) if dims == 2 else (1, 1, 1)
        return as_voxels(len(a) + len(b) - 2 + c for a, b, c in zip(inner, outer, step, strict=True))


def gaussian(scale: float) -> Values:
    """Half of a Gaussian kernel (radius + 1,), its middle first; the whole one sums to 1."""
    radius = max(1, math.ceil(TRUNCATE * scale))
    weights = np.exp(-0.5 * (np.arange(radius + 1) / scale) ** 2)
    half: Values = (weights / (2 * weights.sum() - weights[0])).astype(np.float32)
    return half


def shrunk(values: Values, margin: Voxels) -> Values:
    """A view of ([C,] z, y, x) without the margin on each side."""
    z, y, x = (slice(side, size - side) for side, size in zip(margin, values.shape[-3:], strict=True))
    return values[..., z, y, x]
