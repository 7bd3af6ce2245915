"""A base encoder with the head its training needs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from contraband.models.heads import PointwiseMLP, ProjectionHead, SimpleSegHead, SparseSegHead, per_point
from contraband.models.settings import ModelSettings
from contraband.models.unet import UNet


class ContrastiveVolumeNet(nn.Module):
    """Base encoder and projection head; for inference the base alone is used."""

    def __init__(self, settings: ModelSettings, levels: int = 1) -> None:
        super().__init__()
        self.base = UNet(settings)
        self.levels = levels
        self.projection = ProjectionHead(settings.channels_of(levels), settings.projection_channels)

    def forward(self, raw: Tensor, points_BPD: Tensor) -> Tensor:
        """Projections (B, P, C) of raw (B, C, ...) at whole voxels (B, P, D) of the output.

        Projecting only the points the loss looks at gives the same numbers as projecting the volume.
        """
        features_BPC = self.base.sampled(self.base.decoded(raw, self.levels), points_BPD)
        return per_point(self.projection, features_BPC)


class SegmentationNet(nn.Module):
    """Base encoder and segmentation head."""

    def __init__(
        self, settings: ModelSettings, seg_head: str, out_channels: int, levels: int = 1, restores: bool = False
    ) -> None:
        """restores: also has an output that tells raw, for training alone."""
        super().__init__()
        kind = {"Simple": SimpleSegHead, "Sparse": SparseSegHead}[seg_head]
        self.base = UNet(settings)
        self.levels = levels
        self.feature_channels = settings.channels_of(levels)
        self.out_channels = out_channels
        self.head: PointwiseMLP = kind(self.feature_channels, out_channels)
        # made last, so that all other weights begin as without it
        self.restoring = PointwiseMLP([self.feature_channels, settings.in_channels]) if restores else None

    def forward(self, raw: Tensor, points_BPD: Tensor | None = None) -> Tensor:
        """Logits of raw (B, C, ...): everywhere (B, out, ...), or at whole voxels (B, P, out) of the output."""
        return self.from_levels(self.base.decoded(raw, self.levels), points_BPD)

    def from_levels(self, levels: Sequence[Tensor], points_BPD: Tensor | None = None) -> Tensor:
        """The same from the decoder levels that the head looks at, the finest first."""
        if points_BPD is not None:
            return per_point(self.head, self.base.sampled(levels, points_BPD))
        logits: Tensor = self.head(self.base.aligned(levels))
        return logits
