"""Heads that look at one voxel at a time: the same weights serve points (P, C) and volumes (B, C, (Z,) Y, X).

A linear layer on points equals a convolution with kernel 1 on volumes, up to rounding (2e-7 in float32).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class PointwiseMLP(nn.Module):
    """Linear layers with rectified linear units between them."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        pairs = pairwise(channels)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairs)

    def forward(self, features: Tensor) -> Tensor:
        """Features of points (P, C) or of a volume (B, C, ...) to outputs of the same layout."""
        for index, layer in enumerate(self.layers):
            if index:
                features = functional.relu(features)
            features = layer(features) if features.ndim == 2 else _as_convolution(layer, features)
        outputs: Tensor = features
        return outputs


class ProjectionHead(PointwiseMLP):
    """What the contrastive loss sees of an embedding; thrown away after training."""

    def __init__(self, h_channels: int, out_channels: int) -> None:
        super().__init__([h_channels, h_channels, out_channels])


class SimpleSegHead(PointwiseMLP):
    """An MLP on embeddings, for dense ground truth: (B, h, ...) to affinity logits (B, out, ...)."""

    def __init__(self, h_channels: int, out_channels: int) -> None:
        super().__init__([h_channels, h_channels, out_channels])


class SparseSegHead(PointwiseMLP):
    """The same MLP for a few labelled voxels: takes the embeddings of points."""

    def __init__(self, h_channels: int, out_channels: int) -> None:
        super().__init__([h_channels, h_channels, out_channels])


def gather_points(volume: Tensor, points_BPD: Tensor) -> Tensor:
    """Channels (B, P, C) of a volume (B, C, ...) at whole voxels (B, P, D), which must lie inside."""
    batch = torch.arange(volume.shape[0], device=volume.device)[:, None]
    return volume.movedim(1, -1)[(batch, *points_BPD.unbind(-1))]


def per_point(head: PointwiseMLP, features_BPC: Tensor) -> Tensor:
    """A head on the features (B, P, C) of points of several samples."""
    outputs: Tensor = head(features_BPC.flatten(0, 1))
    return outputs.reshape(*features_BPC.shape[:2], -1)


def _as_convolution(layer: nn.Module, features: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    weight = layer.weight.reshape(*layer.weight.shape, *(1,) * (features.ndim - 2))
    convolve = functional.conv3d if features.ndim == 5 else functional.conv2d
    return convolve(features, weight, layer.bias)
