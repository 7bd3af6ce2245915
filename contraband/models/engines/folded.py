"""A U-Net whose upsampling by repetition is part of the convolution after it: the same to rounding, for less work.

A kernel of 3 over voxels that are repeated twice sees only two different ones along each axis. A transposed convolution
of the voxels before they are repeated, whose weights are sums of the kernel's, takes 8 products where it took 27.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from contraband.models.unet import UNet, crop


def folded(base: UNet) -> UNet:
    """The same network with its upsampling folded, for predictions; itself where upsampling has weights of its own."""
    return FoldedUNet(base) if base.constant_upsample else base


class FoldedUNet(UNet):
    """A U-Net with the weights of another, which it shares, and sums of them."""

    def __init__(self, base: UNet) -> None:
        with torch.device("meta"):  # no weights are drawn in vain
            super().__init__(base.settings)
        self.load_state_dict(base.state_dict(), assign=True)
        levels: Any = zip(self.up, self.down[1:], self.factors, strict=True)
        self.first = nn.ModuleList(
            FoldedConvolution(up[0], coarser[0].in_channels, factor) for up, coarser, factor in levels
        )
        """The first convolution of each level on the way up."""

    def joined(self, level: int, skipped: Tensor, features: Tensor) -> Tensor:
        sizes = zip(features.shape[2:], self.factors[level], self.crops[level], strict=True)
        shape = [size * factor - cropped for size, factor, cropped in sizes]
        features = self.first[level](crop(skipped, shape), features)
        _, *others = self.up[level].children()
        for layer in others:
            features = layer(features)
        return features


class FoldedConvolution(nn.Module):
    """A convolution of voxels (B, S, ...) and, after these, coarser ones (B, C, ...) that are repeated."""

    below: Tensor
    """The weights (C, out, ...) of the transposed convolution of the coarser ones."""

    def __init__(self, convolution: Any, skipped: int, factor: Sequence[int]) -> None:
        """skipped: channels S; factor: how often voxels are repeated along each axis."""
        super().__init__()
        self.kernel: tuple[int, ...] = convolution.kernel_size
        self.factor = tuple(factor)
        weight = convolution.weight.detach()
        self.register_buffer("beside", weight[:, :skipped].contiguous())
        self.register_buffer("bias", convolution.bias.detach())
        below = weight[:, skipped:].transpose(0, 1)
        for axis, by in enumerate(self.factor, start=2):
            below = torch.tensordot(below, _sums(weight.shape[axis], by), dims=([axis], [1])).movedim(-1, axis)
        self.register_buffer("below", below.contiguous())

    def forward(self, skipped: Tensor, features: Tensor) -> Tensor:
        """(B, out, ...) of as many voxels as the kernel fits into `skipped`; of the coarser ones the centre is used."""
        is_3d = len(self.kernel) == 3
        convolve: Any = functional.conv3d if is_3d else functional.conv2d
        transpose: Any = functional.conv_transpose3d if is_3d else functional.conv_transpose2d
        beside: Tensor = convolve(skipped, self.beside, self.bias)
        # Padding is what a transposed convolution leaves out: voxels that not all of a kernel has seen.
        below = transpose(features, self.below, stride=self.factor, padding=[size - 1 for size in self.kernel])
        return beside + crop(below, beside.shape[2:])


def _sums(kernel: int, factor: int) -> Tensor:
    """Which weights of a kernel add up to each of the transposed one, (kernel + factor - 1, kernel) of 0 and 1."""
    place = torch.arange(kernel + factor - 1)[:, None] - (kernel - 1) + torch.arange(kernel)
    return ((place >= 0) & (place < factor)).float()
