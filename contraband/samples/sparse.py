"""The sparse pipelines: a few labelled points, on raw end to end (`SparseBaseline`) or on embeddings (`SparseSH`)."""

from __future__ import annotations

from typing import Any

import gunpowder as gp
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from blockwise.errors import BadInput
from contraband.samples.augment import Shape3
from contraband.samples.base import LABELS, RAW, Drawing, chained, float_tensor, volume_branch
from contraband.samples.nodes import Augment, Normalise, centred
from contraband.samples.points import Points
from contraband.samples.segmentation import NEAR, SegmentationSamples
from contraband.samples.sources import PointSource, VolumeReader, ZarrVolume

POINTS = gp.GraphKey("POINTS")


class SparseSamples(SegmentationSamples):
    """Raw around a labelled point with all points in sight: points (P, 3), point_labels (P,), valid (P,), and labels.

    The points are whole voxels of the network's output; rows that are not valid are padding. Labels are all -1 where
    there is no ground truth but the points.
    """

    def __init__(self, points: Points, drawing: Drawing, label_shape: Shape3) -> None:
        super().__init__(drawing, label_shape)
        self.points = points
        self.has_labels = drawing.pairs[0].labels is not None

    def take_out(self, rows: NDArray[np.int64]) -> Points:
        """Leave points out of all samples that are yet to come; those left out."""
        kept = np.ones(len(self.points), bool)
        kept[rows] = False
        taken = self.points.chosen(rows)
        self.points = self.points.chosen(kept)
        self._pipeline = None
        return taken

    def pipeline(self) -> Any:
        """Volumes and points merged, a place near a point, normalisation, augmentation of everything."""
        volume = volume_branch(self.drawing.pairs, with_labels=self.has_labels)
        sources = (volume, PointSource(self.points, (POINTS, NEAR)))
        nodes = [
            sources,
            gp.MergeProvider(),
            gp.RandomLocation(ensure_nonempty=NEAR),
            Normalise(RAW, self.drawing.norm_factor),
        ]
        if self.drawing.in_loader:
            nodes.append(Augment(self.drawing.augmenter, RAW, LABELS if self.has_labels else None, POINTS))
        return chained(nodes)

    def request(self) -> gp.BatchRequest:
        """Raw, labels, points; a point lies in the middle half, from where nothing turns it out of sight."""
        request = gp.BatchRequest()
        request[RAW] = gp.ArraySpec(roi=centred(self.drawing.raw_shape))
        if self.has_labels:
            request[LABELS] = gp.ArraySpec(roi=self.label_roi())
        sight = self.drawing.output_shape if self.drawing.in_loader else self.drawing.raw_shape
        request[POINTS] = gp.GraphSpec(roi=centred(sight), directed=False)
        request[NEAR] = gp.GraphSpec(roi=centred(self.middle()), directed=False)
        return request

    def tensors(self, batch: gp.Batch) -> dict[str, Tensor]:
        """Raw, labels and padded points; positions count from voxel 0 of the region of points."""
        nodes = sorted(batch[POINTS].nodes, key=lambda node: node.id)
        begin = np.array(batch[POINTS].spec.roi.begin)
        positions = np.zeros((len(self.points), 3), np.int64)
        point_labels = np.zeros(len(self.points), np.int64)
        for row, node in enumerate(nodes):
            positions[row] = np.rint(node.location).astype(np.int64) - begin
            point_labels[row] = self.points.labels[node.id]
        tensors = {
            "raw": float_tensor(batch[RAW]),
            "points": torch.from_numpy(positions),
            "point_labels": torch.from_numpy(point_labels),
            "valid": torch.arange(len(self.points)) < len(nodes),
        }
        if self.has_labels:
            tensors["labels"] = torch.from_numpy(np.ascontiguousarray(batch[LABELS].data, dtype=np.int64))
        return tensors


class EmbeddedPoints(Dataset[dict[str, Tensor]]):
    """Every item is the same: the embeddings of all labelled points (N, C), their targets and what is known (N, K)."""

    def __init__(self, features_NC: NDArray[np.float32], targets_NK: Tensor, known_NK: Tensor) -> None:
        self.item = {"features": torch.from_numpy(features_NC), "targets": targets_NK, "known": known_NK}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.item

    def take_out(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Leave points out; the embeddings, targets and known of those left out."""
        kept = torch.ones(len(self.item["features"]), dtype=torch.bool)
        kept[torch.from_numpy(rows)] = False
        taken = {name: values[~kept] for name, values in self.item.items()}
        self.item = {name: values[kept] for name, values in self.item.items()}
        return taken


def embeddings_at(volume: ZarrVolume, points: Points) -> NDArray[np.float32]:
    """Embeddings (N, C) of points, from an array (C, z, y, x) on the voxels of raw."""
    array = volume.open()
    if array.ndim != 4:
        raise BadInput(volume.where, "is no embedding", got=list(array.shape), wanted="(channels, z, y, x)")
    points.check_inside(array.shape[1:], volume.where)
    return np.stack([array[:, z, y, x] for z, y, x in points.positions.tolist()]).astype(np.float32)


def raw_around(drawing: Drawing, points: Points) -> Tensor:
    """Raw (N, C, Z, Y, X) as the network gets it, each point in the middle of the output; mirrored at the border."""
    pair = drawing.pairs[0]
    reader = VolumeReader(pair.raw, pair.levels)
    shape, output = np.array(drawing.augmenter.output_shape), np.array(drawing.output_shape)
    begin = points.positions - output // 2 - (shape - output) // 2
    crops = [reader.mirrored(tuple(low), tuple(low + shape)) for low in begin]
    raw = np.stack(crops).astype(np.float32) * np.float32(drawing.norm_factor)
    return torch.from_numpy(raw if raw.ndim == 5 else raw[:, None])


def labels_around(volume: ZarrVolume, points: Points, reach: tuple[int, int, int]) -> Tensor:
    """Labels (N, z, y, x) of the neighbourhoods of points, `reach` voxels on every side; -1 outside the volume."""
    reader = VolumeReader(volume)
    return torch.from_numpy(
        np.stack([reader.labels(tuple(p - reach), tuple(p + np.add(reach, 1))) for p in points.positions])
    )
