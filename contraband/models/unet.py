"""A 2D or 3D U-Net with valid convolutions whose output moves exactly with its input.

Shape letters: B batch, C channels, then (Z,) Y, X. All shapes are in voxels. "Step" is the product of all pooling
factors: shifting the input by a multiple of it shifts the output by the same and changes no value, because every level
is cropped so that output extents are multiples of the step (Rumberger et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from blockwise.errors import BadInput
from contraband.models.heads import gather_points
from contraband.models.settings import ModelSettings

Shape = tuple[int, ...]


class ConvPass(nn.Sequential):
    """Valid convolutions, each followed by a rectified linear unit."""

    def __init__(self, in_channels: int, out_channels: int, kernels: Sequence[Shape]) -> None:
        layers: list[nn.Module] = []
        for kernel in kernels:
            layer: Any = nn.Conv3d if len(kernel) == 3 else nn.Conv2d
            convolution = layer(in_channels, out_channels, kernel)
            nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
            layers += [convolution, nn.ReLU(inplace=True)]
            in_channels = out_channels
        super().__init__(*layers)


class UNet(nn.Module):
    """The base encoder: raw (B, C, ...) to embeddings `h` (B, h_channels, ...), smaller by `context` in all."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.dims = settings.dims
        self.factors = settings.factors
        self.lost_down = [_lost(kernels) for kernels in settings.kernels_down]
        self.lost_up = [_lost(kernels) for kernels in settings.kernels_up]
        maps = [settings.num_fmaps * settings.fmap_inc_factors**level for level in range(len(self.factors) + 1)]
        self.down = nn.ModuleList(
            ConvPass(maps[level - 1] if level else settings.in_channels, maps[level], kernels)
            for level, kernels in enumerate(settings.kernels_down)
        )
        self.up = nn.ModuleList(
            ConvPass(maps[level] + maps[level + 1], maps[level] if level else settings.embedding_channels, kernels)
            for level, kernels in enumerate(settings.kernels_up)
        )
        transpose: Any = nn.ConvTranspose3d if self.dims == 3 else nn.ConvTranspose2d
        self.upsample = nn.ModuleList(
            nn.Identity() if settings.constant_upsample else transpose(maps[i + 1], maps[i + 1], factor, factor)
            for i, factor in enumerate(self.factors)
        )
        self.constant_upsample = settings.constant_upsample
        self.scales: list[Shape] = [
            tuple(prod(factor[d] for factor in self.factors[:level]) for d in range(self.dims))
            for level in range(len(self.factors) + 1)
        ]
        """Voxels of the output along an axis that a voxel of each level covers."""
        self.step: Shape = self.scales[-1]
        self.crops, self.context = self._plan()

    def forward(self, raw: Tensor) -> Tensor:
        """Embeddings `h` of raw (B, C, ...); the input extents must be valid (see `valid_input`)."""
        return self.decoded(raw, 1)[0]

    def decoded(self, raw: Tensor, levels: int) -> list[Tensor]:
        """The `levels` finest decoder levels of raw (B, C, ...), the finest, `h`, first; each on voxels of its own.

        `aligned` brings them to the voxels of the output, `sampled` to points of it.
        """
        skipped: list[Tensor] = []
        found: list[Tensor] = []
        features = raw
        for level, factor in enumerate(self.factors):
            features = self.down[level](features)
            skipped.append(features)
            pool = functional.max_pool3d if self.dims == 3 else functional.max_pool2d
            features = pool(features, factor)
        features = self.down[-1](features)
        if levels > len(self.factors):
            found.append(features)
        for level in reversed(range(len(self.factors))):
            features = self.joined(level, skipped[level], features)
            if level < levels:
                found.append(features)
        return found[::-1]

    def joined(self, level: int, skipped: Tensor, features: Tensor) -> Tensor:
        """A level on the way up: of what the level had on the way down, and of what comes from the one below."""
        features = self._upsampled(features, level)
        shape = [n - c for n, c in zip(features.shape[2:], self.crops[level], strict=True)]
        joined: Tensor = self.up[level](torch.cat([crop(skipped, shape), crop(features, shape)], dim=1))
        return joined

    def aligned(self, levels: Sequence[Tensor]) -> Tensor:
        """Decoder levels, the finest first, on the voxels of the output (B, C, ...).

        A voxel of a coarser level stands for all voxels of the output inside it, so a shift of the input by whole steps
        shifts them all and changes none.
        """
        if len(levels) == 1:
            return levels[0]
        shape = levels[0].shape[2:]
        coarser = zip(levels[1:], self.scales[1:], strict=False)
        upsampled = (functional.interpolate(found, scale_factor=tuple(map(float, by))) for found, by in coarser)
        return torch.cat([levels[0], *(crop(found, shape) for found in upsampled)], dim=1)

    def sampled(self, levels: Sequence[Tensor], points_BPD: Tensor) -> Tensor:
        """The same (B, P, C) at whole voxels (B, P, D) of the output, without a coarse level made large."""
        shape = levels[0].shape[2:]
        found = [gather_points(levels[0], points_BPD)]
        for features, scale in zip(levels[1:], self.scales[1:], strict=False):
            extents = zip(features.shape[2:], scale, shape, strict=True)
            # every level is cropped by as much on either side, so all share their centre
            beyond = torch.tensor([(n * by - inner) // 2 for n, by, inner in extents], device=points_BPD.device)
            by = torch.tensor(scale, device=points_BPD.device)
            found.append(gather_points(features, (points_BPD + beyond).div(by, rounding_mode="floor")))
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Output extents for input extents; BadInput if they do not fit the network."""
        output = tuple(n - c for n, c in zip(input_shape, self.context, strict=True))
        if any(n < s or n % s for n, s in zip(output, self.step, strict=True)):
            raise BadInput(
                "in_shape",
                "does not fit the network",
                got=list(input_shape),
                wanted=f"e.g. {list(self.valid_input(output))}",
            )
        return output

    def nearest_input(self, input_shape: Sequence[int]) -> Shape:
        """The valid input extents that are nearest to `input_shape`, the larger ones of two."""
        outputs = [n - c + s // 2 for n, c, s in zip(input_shape, self.context, self.step, strict=True)]
        return self.valid_input(outputs)

    def valid_input(self, output_shape: Sequence[int]) -> Shape:
        """The input extents whose output is the largest possible not above `output_shape`, at least one step."""
        steps = zip(output_shape, self.step, strict=True)
        return tuple(max(n // s, 1) * s + c for (n, s), c in zip(steps, self.context, strict=True))

    def _upsampled(self, features: Tensor, level: int) -> Tensor:
        if not self.constant_upsample:
            upsampled: Tensor = self.upsample[level](features)
            return upsampled
        scale = tuple(float(factor) for factor in self.factors[level])
        return functional.interpolate(features, scale_factor=scale, mode="nearest")

    def _plan(self) -> tuple[list[Shape], Shape]:
        """Voxels cropped from each level after upsampling, and voxels lost in all, per dimension."""
        columns = [self._plan_axis(axis) for axis in range(self.dims)]
        crops = [tuple(column[0][level] for column in columns) for level in range(len(self.factors))]
        return crops, tuple(column[1] for column in columns)

    def _plan_axis(self, axis: int) -> tuple[list[int], int]:
        """Crop as deep as possible (cheapest) what makes the output a multiple of the step along one axis."""
        scales = [prod(factor[axis] for factor in self.factors[:i]) for i in range(len(self.factors) + 1)]
        lost = sum(scale * one[axis] for scale, one in zip(scales, self.lost_down, strict=True))
        lost += sum(scale * one[axis] for scale, one in zip(scales[:-1], self.lost_up, strict=True))
        remaining = self._residue(axis)
        if remaining % 2:
            remaining += self.step[axis]  # only for odd steps; odd kernels keep the rest even
        context, crops = lost + remaining, [0] * len(self.factors)
        for level in reversed(range(len(self.factors))):
            crop = remaining // (2 * scales[level]) * 2
            crops[level] = crop
            remaining -= crop * scales[level]
        return crops, context

    def _residue(self, axis: int) -> int:
        """The output extent modulo the step, for any input the pooling divides, without extra crops."""
        extent = 0  # at the bottom; any number gives the same remainder
        for level in reversed(range(len(self.factors))):
            extent = extent * self.factors[level][axis] - self.lost_up[level][axis]
        return extent % self.step[axis]


def crop(volume: Tensor, shape: Sequence[int]) -> Tensor:
    """The centre of (B, C, ...) with the given extents."""
    for axis, extent in enumerate(shape, start=2):
        volume = volume.narrow(axis, (volume.shape[axis] - extent) // 2, extent)
    return volume


def _lost(kernels: Sequence[Shape]) -> Shape:
    return tuple(sum(kernel[d] - 1 for kernel in kernels) for d in range(len(kernels[0])))
