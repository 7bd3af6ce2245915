"""The four things that are trained: what comes in, what the loss is, what a picture of it shows.

A task joins a network, its samples and its loss; `contraband.training.loop` runs any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from contraband.models.heads import gather_points
from contraband.models.networks import ContrastiveVolumeNet, SegmentationNet
from contraband.samples.augment import Augmenter, Geometry, Shape3, move, to_relative, to_voxels
from contraband.samples.views import two_views
from contraband.training.lessons import Lesson
from contraband.training.losses import near_each_other, nt_xent
from contraband.training.pictures import principal_colours

Batch = dict[str, Tensor]
Pictures = dict[str, np.ndarray]


class Task(Protocol):
    """What the training loop needs to know."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    @property
    def samples(self) -> Dataset[Batch]:
        """What it is trained on."""

    def loss(self, batch: Batch) -> Tensor:
        """A scalar in float32; called under autocast, with tensors on the device."""

    def pictures(self, batch: Batch) -> Pictures:
        """Arrays by name that show what the network saw and said."""


@dataclass(frozen=True)
class Contrast:
    """Which points are compared, and how."""

    count: int
    """Points of a sample."""
    temperature: float
    exclusion: float = 0.0
    """Points of a sample that are nearer to each other are no negatives; in units of `voxel_size`."""
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0)


class ContrastiveTask:
    """Points look alike in two views of the same place."""

    def __init__(
        self,
        network: ContrastiveVolumeNet,
        samples: Dataset[Batch],
        augmenter: Augmenter,
        output_shape: Shape3,
        contrast: Contrast,
    ) -> None:
        self.network = network
        self.samples = samples
        self.augmenter = augmenter
        self.output_shape = output_shape
        self.contrast = contrast

    def loss(self, batch: Batch) -> Tensor:
        """NT-Xent over the points of all samples together."""
        views = self._views(batch)
        dims = self.network.base.dims
        first, second = (
            self.network(spatial(views[f"raw_{view}"], dims), views[f"points_{view}"][..., 3 - dims :]).flatten(0, 1)
            for view in (0, 1)
        )
        near = None
        if self.contrast.exclusion:
            places = views["places"] * torch.tensor(self.contrast.voxel_size, device=views["places"].device)
            near = near_each_other(places, self.contrast.exclusion)
        return nt_xent(first, second, self.contrast.temperature, views["valid"].flatten(), near)

    def pictures(self, batch: Batch) -> Pictures:
        """Both views, their points, and what the encoder says of both, in the same colours."""
        views = {name: value for name, value in self._views(batch).items() if name not in ("seed", "places")}
        dims = self.network.base.dims
        found = torch.cat([self.network.base(spatial(views[f"raw_{view}"], dims)) for view in (0, 1)])
        colours = volumetric(principal_colours(found)).chunk(2)
        views |= {f"embeddings_{view}": colours[view] for view in (0, 1)}
        return {name: value.cpu().numpy() for name, value in views.items()}

    def _views(self, batch: Batch) -> Batch:
        if "raw_0" in batch:
            return batch
        seeds = batch["seed"].tolist()
        return two_views(self.augmenter, batch["raw"], seeds, self.output_shape, self.contrast.count)


class DenseTask:
    """Affinities or classes everywhere, from labelled volumes."""

    def __init__(
        self,
        network: SegmentationNet,
        samples: Dataset[Batch],
        augmenter: Augmenter | None,
        label_shape: Shape3,
        lesson: Lesson,
    ) -> None:
        self.network = network
        self.samples = samples
        self.augmenter = augmenter
        self.label_shape = label_shape
        self.lesson = lesson

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the lesson wherever something is known."""
        raw, targets, known = self.inputs(batch)
        logits = self.network(spatial(raw, self.network.base.dims))
        return self.lesson.loss(volumetric(logits), targets, known, 1)

    def judged(self, levels: Sequence[Tensor], targets: Tensor, known: Tensor) -> Tensor:
        """The same from decoder levels, and what `inputs` gives beside raw."""
        return self.lesson.loss(volumetric(self.network.from_levels(levels)), targets, known, 1)

    def pictures(self, batch: Batch) -> Pictures:
        """Raw, what is wanted and predicted, and the embeddings in colours."""
        raw, targets, known = self.inputs(batch)
        wanted = "affinities" if targets.shape[1] == self.network.out_channels else "classes"
        arrays = {"raw": raw, wanted: targets, "known": known.byte()} | _said(self.network, self.lesson, raw)
        return {name: value.cpu().numpy() for name, value in arrays.items()}

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Raw, and targets and which are known (B, K, z, y, x)."""
        raw, labels = batch["raw"], batch["labels"]
        if self.augmenter is not None:
            seeds = batch["seed"].tolist()
            geometry = self.augmenter.draw(seeds, raw.device)
            raw = self.augmenter.raw(raw, geometry, seeds)
            labels = move(labels[:, None], geometry, self.label_shape)[:, 0]
        assert self.lesson.of_volume is not None  # the settings see to it
        return (raw, *self.lesson.of_volume(labels))


class SparseTask:
    """Affinities, foreground or classes at a few labelled points of raw, end to end."""

    def __init__(
        self,
        network: SegmentationNet,
        samples: Dataset[Batch],
        augmenter: Augmenter | None,
        shapes: tuple[Shape3, Shape3],
        lesson: Lesson,
    ) -> None:
        self.network = network
        self.samples = samples
        self.augmenter = augmenter
        self.output_shape, self.label_shape = shapes
        self.lesson = lesson

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the lesson at the points in sight."""
        raw, points, targets, known = self.inputs(batch)
        dims = self.network.base.dims
        logits = self.network(spatial(raw, dims), points[..., 3 - dims :])
        return self.lesson.loss(logits, targets, known, 2)

    def judged(self, levels: Sequence[Tensor], points: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """The same from decoder levels, and what `inputs` gives beside raw."""
        logits = self.network.from_levels(levels, points[..., 3 - self.network.base.dims :])
        return self.lesson.loss(logits, targets, known, 2)

    def pictures(self, batch: Batch) -> Pictures:
        """Raw, the points, what they teach, and what the network says everywhere."""
        raw, points, targets, known = self.inputs(batch)
        arrays = {"raw": raw, "points": points, "targets": targets, "known": known.byte()}
        arrays |= _said(self.network, self.lesson, raw)
        return {name: value.cpu().numpy() for name, value in arrays.items()}

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Raw, points (B, P, 3), targets and known (B, P, K)."""
        raw = batch["raw"]
        points = batch["points"]
        valid = batch["valid"]
        labels = batch.get("labels")
        if self.augmenter is not None:
            seeds = batch["seed"].tolist()
            geometry = self.augmenter.draw(seeds, raw.device)
            points, valid = self._moved(points, valid, geometry)
            raw = self.augmenter.raw(raw, geometry, seeds)
            labels = None if labels is None else move(labels[:, None], geometry, self.label_shape)[:, 0]
        if self.lesson.of_volume is None or labels is None:
            targets = self.lesson.of_points(batch["point_labels"])
            return raw, points, targets, valid[..., None].expand_as(targets)
        dense, known = self.lesson.of_volume(labels)
        return raw, points, gather_points(dense, points), gather_points(known, points) & valid[..., None]

    def _moved(self, points: Tensor, valid: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
        assert self.augmenter is not None
        relative = to_relative(points.float(), self.augmenter.source_shape)
        moved, inside = to_voxels(geometry.to_output(relative), self.output_shape)
        return moved, valid & inside


class EmbeddingTask:
    """The head alone, on stored embeddings of labelled points."""

    def __init__(self, network: SegmentationNet, samples: Dataset[Batch], lesson: Lesson) -> None:
        self.network = network
        self.samples = samples
        self.lesson = lesson

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the lesson over all points."""
        logits = self.network.head(batch["features"].flatten(0, 1))
        targets = batch["targets"].flatten(0, 1)
        known = batch["known"].flatten(0, 1)
        return self.lesson.loss(logits, targets, known, 1)

    def pictures(self, batch: Batch) -> Pictures:
        """Nothing to look at."""
        return {}


def _said(network: SegmentationNet, lesson: Lesson, raw: Tensor) -> Batch:
    """Embeddings in colours and the prediction, both (B, C, z, y, x)."""
    levels = network.base.decoded(spatial(raw, network.base.dims), network.levels)
    prediction = lesson.probabilities(network.from_levels(levels).float())
    return {"embeddings": volumetric(principal_colours(levels[0])), "prediction": volumetric(prediction)}


def spatial(raw: Tensor, dims: int) -> Tensor:
    """Raw (B, C, Z, Y, X) as the network wants it: without z for a 2D network, whose samples have one section."""
    return raw if dims == 3 else raw[:, :, 0]


def volumetric(output: Tensor) -> Tensor:
    """Output (B, C, (Z,) Y, X) with a z axis."""
    return output if output.ndim == 5 else output[:, :, None]


def plain(tensor: Tensor) -> Any:
    """A detached copy on the CPU."""
    return tensor.detach().to("cpu", copy=True)
