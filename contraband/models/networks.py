"""A base encoder with the head its training needs."""

from __future__ import annotations

from torch import Tensor, nn

from contraband.models.heads import PointwiseMLP, ProjectionHead, SimpleSegHead, SparseSegHead, gather_points, per_point
from contraband.models.settings import ModelSettings
from contraband.models.unet import UNet


class ContrastiveVolumeNet(nn.Module):
    """Base encoder and projection head; for inference the base alone is used."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.base = UNet(settings)
        self.projection = ProjectionHead(settings.embedding_channels, settings.projection_channels)

    def forward(self, raw: Tensor, points_BPD: Tensor) -> Tensor:
        """Projections (B, P, C) of raw (B, C, ...) at whole voxels (B, P, D) of the output.

        Projecting only the points the loss looks at gives the same numbers as projecting the volume.
        """
        features_BPC = gather_points(self.base(raw), points_BPD)
        return per_point(self.projection, features_BPC)


class SegmentationNet(nn.Module):
    """Base encoder and segmentation head."""

    def __init__(self, settings: ModelSettings, seg_head: str, out_channels: int) -> None:
        super().__init__()
        kind = {"Simple": SimpleSegHead, "Sparse": SparseSegHead}[seg_head]
        self.base = UNet(settings)
        self.embedding_channels = settings.embedding_channels
        self.out_channels = out_channels
        self.head: PointwiseMLP = kind(settings.embedding_channels, out_channels)

    def forward(self, raw: Tensor, points_BPD: Tensor | None = None) -> Tensor:
        """Logits of raw (B, C, ...): everywhere (B, out, ...), or at whole voxels (B, P, out) of the output."""
        return self.from_embeddings(self.base(raw), points_BPD)

    def from_embeddings(self, embeddings: Tensor, points_BPD: Tensor | None = None) -> Tensor:
        """The same, from embeddings (B, h, ...), or from those of points alone (P, h)."""
        if points_BPD is not None:
            return per_point(self.head, gather_points(embeddings, points_BPD))
        logits: Tensor = self.head(embeddings)
        return logits
