"""Labels that a training does not see, and how well it does on them.

Shape letters: S samples, N points of each, C channels, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import Dataset

from blockwise.errors import BadInput
from contraband.models.hardware import Hardware
from contraband.samples.augment import Shape3
from contraband.samples.points import Points, each_as_often
from contraband.samples.segmentation import SegmentationSamples
from contraband.samples.sources import VolumeReader, ZarrVolume
from contraband.samples.sparse import EmbeddedPoints, SparseSamples, labels_around, raw_around
from contraband.training.joint import JointTask
from contraband.training.lessons import Lesson
from contraband.training.tasks import Batch, DenseTask, EmbeddingTask, Pictures, SparseTask, Task, spatial

AT_ONCE = 16
"""Samples that go through the network at once."""
TOLD = 64
"""Voxels of a sample that are told where part of a volume is held out: as many of each label."""


class HeldOut(Protocol):
    """Points kept back."""

    def loss(self, network: nn.Module, weights: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """The loss of the lesson on all of them together, of the network with these weights."""


@dataclass(frozen=True)
class HeldOutSamples:
    """Raw about labelled voxels that the network's output holds, neither moved nor lit otherwise."""

    raw: Tensor
    """(S, C, Z, Y, X)."""
    points: Tensor
    """(S, N, 3): voxels of the network's output."""
    targets: Tensor
    """(S, N, K)."""
    known: Tensor
    """(S, N, K)."""
    lesson: Lesson
    dims: int

    def loss(self, network: nn.Module, weights: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """As many points at once as fit into memory for sure."""
        logits = []
        for begin in range(0, len(self.raw), AT_ONCE):
            raw = spatial(self.raw[begin : begin + AT_ONCE].to(device), self.dims)
            points = self.points[begin : begin + AT_ONCE, :, 3 - self.dims :].to(device)
            logits.append(functional_call(network, dict(weights), (raw, points)))
        return self.lesson.loss(torch.cat(logits), self.targets.to(device), self.known.to(device), 2)


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


@dataclass(frozen=True)
class LeftOut:
    """What a fold leaves out of one labelled volume."""

    labels: ZarrVolume
    """What is still there to be learnt."""
    about: Points
    """Some of it, about which patches are drawn."""
    held: ZarrVolume
    """What is left out, and nothing else."""
    centres: Points
    """Some of it, about which the network is asked."""


class FoldTask:
    """A task without some of its labels; every so many steps the loss on those is told."""

    def __init__(self, task: Task, rows: NDArray[np.int64] | Sequence[LeftOut], every: int) -> None:
        """rows: of the points to be held out, or what of each volume. Takes it out of the samples of the task."""
        self.task = task
        self.every = every
        self.held_out = hold_out(task, rows)

    @property
    def network(self) -> nn.Module:
        """That of the task."""
        return self.task.network

    @property
    def samples(self) -> Dataset[Batch]:
        """Those of the task, which hold none of the labels held out."""
        return self.task.samples

    def loss(self, batch: Batch) -> Tensor:
        """That of the task."""
        return self.task.loss(batch)

    def pictures(self, batch: Batch) -> Pictures:
        """Those of the task."""
        return self.task.pictures(batch)

    @torch.no_grad()
    def held_out_loss(self, weights: Mapping[str, Tensor], hardware: Hardware) -> float:
        """The loss of these weights on what is held out."""
        with hardware.autocast():
            return float(self.held_out.loss(self.network, weights, hardware.device))


def hold_out(task: Task, rows: NDArray[np.int64] | Sequence[LeftOut]) -> HeldOut:
    """Take labels out of the samples of a task, and keep what is needed to judge it by them."""
    if isinstance(task, JointTask):
        return hold_out(task.labelled, rows)
    if isinstance(task, DenseTask):
        assert not isinstance(rows, np.ndarray)  # volumes have no rows
        return _hold_out_of_volumes(task, rows)
    assert isinstance(rows, np.ndarray)
    if isinstance(task, EmbeddingTask):
        assert isinstance(task.samples, EmbeddedPoints)
        return HeldOutEmbeddings(task.samples.take_out(rows), task.lesson)
    assert isinstance(task, SparseTask)  # the settings of an experiment see to it
    assert isinstance(task.samples, SparseSamples)
    points = task.samples.take_out(rows)
    drawing = task.samples.drawing
    targets, known = _targets(task, task.samples, points)
    middle = torch.tensor([extent // 2 for extent in drawing.output_shape]).expand(len(points), 1, 3)
    raw = raw_around(drawing, points)
    return HeldOutSamples(raw, middle, targets[:, None], known[:, None], task.lesson, task.network.base.dims)


def _hold_out_of_volumes(task: DenseTask, left: Sequence[LeftOut]) -> HeldOutSamples:
    assert isinstance(task.samples, SegmentationSamples)
    drawing = task.samples.drawing
    raw, told = [], []
    for pair, one in zip(drawing.pairs, left, strict=True):
        raw.append(raw_around(replace(drawing, pairs=[pair]), one.centres))
        reader = VolumeReader(one.held)
        told += [_told(task, reader, place, drawing.output_shape) for place in one.centres.positions]
    points, targets, known = (torch.stack(values) for values in zip(*told, strict=True))
    if not known.any():
        what = "has a fold of which nothing can be told: the voxels beside its labels have none"
        raise BadInput(left[0].held.where, what, todo="label larger places, or teach classes")
    task.samples.learn_from([one.labels for one in left], [one.about for one in left])
    return HeldOutSamples(torch.cat(raw), points, targets, known, task.lesson, task.network.base.dims)


def _told(
    task: DenseTask, held: VolumeReader, place: NDArray[np.int64], output: Shape3
) -> tuple[Tensor, Tensor, Tensor]:
    """Some voxels (N, 3) of an output about a place, their targets and which are known (N, K)."""
    assert task.lesson.of_volume is not None  # volumes teach more than what a voxel itself is labelled
    reach = _reach(task.label_shape, output)
    begin = place - np.array(output) // 2
    labels = held.labels(tuple(begin - reach), tuple(begin + output + reach))
    inside = tuple(slice(edge, edge + extent) for edge, extent in zip(reach, output, strict=True))
    chosen = torch.from_numpy(each_as_often(labels[inside], TOLD, 0).positions)
    points = torch.cat([chosen, chosen.new_zeros(TOLD - len(chosen), 3)])  # the rest is padding
    valid = torch.arange(TOLD) < len(chosen)
    both = task.lesson.of_volume(torch.from_numpy(labels)[None])
    targets, known = (values[0][(slice(None), *points.T)].T for values in both)
    return points, targets, known & valid[:, None]


def _targets(task: SparseTask, samples: SparseSamples, points: Points) -> tuple[Tensor, Tensor]:
    """Targets and which are known (N, K), as the samples would have them."""
    labels = samples.drawing.pairs[0].labels
    if task.lesson.of_volume is None or labels is None:
        targets = task.lesson.of_points(torch.from_numpy(points.labels))
        return targets, torch.ones_like(targets, dtype=torch.bool)
    reach = _reach(task.label_shape, task.output_shape)
    targets, known = task.lesson.of_volume(labels_around(labels, points, reach))
    return targets.flatten(1), known.flatten(1)


def _reach(label_shape: Shape3, output_shape: Shape3) -> Shape3:
    """Voxels of labels needed beyond the output on each side."""
    z, y, x = ((label - output) // 2 for label, output in zip(label_shape, output_shape, strict=True))
    return z, y, x
