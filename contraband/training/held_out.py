"""Labelled points that a training does not see, and how well it does on them.

Shape letters: N points, C channels, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import Dataset

from contraband.models.hardware import Hardware
from contraband.samples.points import Points
from contraband.samples.sparse import EmbeddedPoints, SparseSamples, labels_around, raw_around
from contraband.training.joint import JointTask
from contraband.training.lessons import Lesson
from contraband.training.tasks import Batch, EmbeddingTask, Pictures, SparseTask, Task, spatial

AT_ONCE = 16
"""Points whose surroundings go through the network at once."""


class HeldOut(Protocol):
    """Points kept back."""

    def loss(self, network: nn.Module, weights: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """The loss of the lesson on all of them together, of the network with these weights."""


@dataclass(frozen=True)
class HeldOutSamples:
    """Raw around points, each in the middle of the network's output, neither moved nor lit otherwise."""

    raw: Tensor
    """(N, C, Z, Y, X)."""
    point: Tensor
    """(3,): the middle of the output."""
    targets: Tensor
    """(N, K)."""
    known: Tensor
    """(N, K)."""
    lesson: Lesson
    dims: int

    def loss(self, network: nn.Module, weights: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """As many points at once as fit into memory for sure."""
        logits = []
        for begin in range(0, len(self.raw), AT_ONCE):
            raw = spatial(self.raw[begin : begin + AT_ONCE].to(device), self.dims)
            points = self.point[3 - self.dims :].to(device).expand(len(raw), 1, -1)
            logits.append(functional_call(network, dict(weights), (raw, points)))
        targets, known = self.targets[:, None].to(device), self.known[:, None].to(device)
        return self.lesson.loss(torch.cat(logits), targets, known, 2)


@dataclass(frozen=True)
class HeldOutEmbeddings:
    """Embeddings of points."""

    batch: Batch
    """features (N, C), targets and known (N, K)."""
    lesson: Lesson

    def loss(self, network: nn.Module, weights: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """The head alone has something to say."""
        head = {name.removeprefix("head."): value for name, value in weights.items() if name.startswith("head.")}
        features, targets, known = (self.batch[name].to(device) for name in ("features", "targets", "known"))
        return self.lesson.loss(functional_call(network.get_submodule("head"), head, (features,)), targets, known, 1)


class FoldTask:
    """A task without some of its points; every so many steps the loss on those is told."""

    def __init__(self, task: Task, rows: NDArray[np.int64], every: int) -> None:
        """rows: of the points to be held out. Takes them out of the samples of the task."""
        self.task = task
        self.every = every
        self.held_out = hold_out(task, rows)

    @property
    def network(self) -> nn.Module:
        """That of the task."""
        return self.task.network

    @property
    def samples(self) -> Dataset[Batch]:
        """Those of the task, which hold none of the points."""
        return self.task.samples

    def loss(self, batch: Batch) -> Tensor:
        """That of the task."""
        return self.task.loss(batch)

    def pictures(self, batch: Batch) -> Pictures:
        """Those of the task."""
        return self.task.pictures(batch)

    @torch.no_grad()
    def held_out_loss(self, weights: Mapping[str, Tensor], hardware: Hardware) -> float:
        """The loss of these weights on the points held out."""
        with hardware.autocast():
            return float(self.held_out.loss(self.network, weights, hardware.device))


def hold_out(task: Task, rows: NDArray[np.int64]) -> HeldOut:
    """Take points out of the samples of a task on points, and keep what is needed to judge it by them."""
    if isinstance(task, JointTask):
        return hold_out(task.labelled, rows)
    if isinstance(task, EmbeddingTask):
        assert isinstance(task.samples, EmbeddedPoints)
        return HeldOutEmbeddings(task.samples.take_out(rows), task.lesson)
    assert isinstance(task, SparseTask)  # the settings of an experiment see to it
    assert isinstance(task.samples, SparseSamples)
    points = task.samples.take_out(rows)
    drawing = task.samples.drawing
    targets, known = _targets(task, task.samples, points)
    middle = torch.tensor([extent // 2 for extent in drawing.output_shape])
    return HeldOutSamples(raw_around(drawing, points), middle, targets, known, task.lesson, task.network.base.dims)


def _targets(task: SparseTask, samples: SparseSamples, points: Points) -> tuple[Tensor, Tensor]:
    """Targets and which are known (N, K), as the samples would have them."""
    labels = samples.drawing.pairs[0].labels
    if task.lesson.of_volume is None or labels is None:
        targets = task.lesson.of_points(torch.from_numpy(points.labels))
        return targets, torch.ones_like(targets, dtype=torch.bool)
    sides = zip(task.label_shape, task.output_shape, strict=True)
    z, y, x = ((label - output) // 2 for label, output in sides)
    targets, known = task.lesson.of_volume(labels_around(labels, points, (z, y, x)))
    return targets.flatten(1), known.flatten(1)
