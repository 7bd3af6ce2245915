"""What labels teach: the targets that follow from them, the loss, and what the network then says.

Labels are objects, which give affinities or foreground, or the classes of `contraband.models.classes`. A target has the
channels K of the network's output, or a single one for a class; below 0 a label is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from contraband.training.losses import class_loss, segmentation_loss
from contraband.training.targets import Offset, affinities, foreground, grow_boundary, inner

Target = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From labels (B, Z, Y, X) to targets (B, K, z, y, x) and which are known, without the margin."""


@dataclass(frozen=True)
class Lesson:
    """What a network learns from labels."""

    of_points: Callable[[Tensor], Tensor]
    """Targets (..., K) of points, from their own labels (...)."""

    of_volume: Target | None
    """Targets from labels all around; None: what a point itself is labelled says all there is."""

    loss: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    """A scalar of logits, targets, known and the axis of channels."""

    probabilities: Callable[[Tensor], Tensor] = torch.sigmoid
    """Logits (B, K, ...) as what is shown."""


def affinity_lesson(offsets: Sequence[Offset], target: Target, has_foreground: bool = False) -> Lesson:
    """Affinities, and perhaps foreground in a last channel; see `affinity_target`."""
    return Lesson(_is_object(len(offsets) + has_foreground), target, partial(_affinities_and_more, count=len(offsets)))


def foreground_lesson(offsets: Sequence[Offset], has_foreground: bool = False) -> Lesson:
    """Whether a point lies in an object, in all channels of affinities and foreground alike."""
    return Lesson(_is_object(len(offsets) + has_foreground), None, partial(_affinities_and_more, count=len(offsets)))


def class_lesson() -> Lesson:
    """The class of a voxel, each class weighing the same."""
    return Lesson(lambda labels: labels[..., None], class_target, class_loss, _shares)


def affinity_target(offsets: Sequence[Offset], margin: Offset, steps: int, has_foreground: bool = False) -> Target:
    """From labels to affinities and which are known, boundaries grown by `steps` first; foreground may come last."""

    def target(labels: Tensor) -> tuple[Tensor, Tensor]:
        wanted = affinities(grow_boundary(labels, steps), offsets, margin)
        if not has_foreground:
            return wanted
        joined = zip(wanted, foreground(labels, margin), strict=True)
        values, known = (torch.cat(pair, dim=1) for pair in joined)
        return values, known

    return target


def class_target(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Classes (B, 1, z, y, x) int64 and which are known; labels have no margin."""
    classes = inner(labels, (0, 0, 0))
    return classes, classes >= 0


def _affinities_and_more(logits: Tensor, targets: Tensor, known: Tensor, channels: int, count: int) -> Tensor:
    return segmentation_loss(logits, targets, known, count, channels)


def _is_object(channels: int) -> Callable[[Tensor], Tensor]:
    return lambda labels: (labels > 0).float()[..., None].expand(*labels.shape, channels)


def _shares(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)
