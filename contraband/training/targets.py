"""What a segmentation network should say: affinities of label volumes, and which of them are known.

Labels (B, Z, Y, X) int64: 0 is background, -1 is not known. Offsets are (z, y, x) in voxels: channel k of voxel v tells
whether v and v + offset[k] belong to the same label.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Offset = tuple[int, int, int]


def margin_for(offsets: Sequence[Offset], grow_boundary: int, depth: int) -> Offset:
    """Voxels of labels needed around the output on each side so that all its affinities are known."""
    reach = [max(abs(offset[axis]) for offset in offsets) + grow_boundary for axis in range(3)]
    return (reach[0] if depth > 1 else 0, reach[1], reach[2])


def affinities(labels: Tensor, offsets: Sequence[Offset], margin: Offset) -> tuple[Tensor, Tensor]:
    """Affinities (B, K, z, y, x) float32 in {0, 1} and which are known (bool), without the margin on each side.

    An affinity is 1 if both voxels have the same label above 0, and 0 where either is background.
    """
    here = _window(labels, (0, 0, 0), margin)
    targets, known = [], []
    for offset in offsets:
        there = _window(labels, offset, margin)
        targets.append((here == there) & (here != 0))
        known.append((here != -1) & (there != -1))
    return torch.stack(targets, dim=1).float(), torch.stack(known, dim=1)


def foreground(labels: Tensor, margin: Offset) -> tuple[Tensor, Tensor]:
    """Foreground (B, 1, z, y, x) float32 in {0, 1} and where it is known (bool), without the margin on each side."""
    here = inner(labels, margin)
    return (here > 0).float(), here != -1


def inner(labels: Tensor, margin: Offset) -> Tensor:
    """Labels (B, 1, z, y, x) without the margin on each side."""
    return _window(labels, (0, 0, 0), margin)[:, None]


def grow_boundary(labels: Tensor, steps: int) -> Tensor:
    """Labels in which voxels beside another label became background, `steps` times over.

    Background and unknown voxels do not eat into a label: only touching labels are parted.
    """
    for _ in range(steps):
        apart = torch.zeros_like(labels, dtype=torch.bool)
        for axis in range(1, labels.ndim):
            length = labels.shape[axis] - 1
            if length:
                before = labels.narrow(axis, 0, length)
                after = labels.narrow(axis, 1, length)
                touch = (before != after) & (before > 0) & (after > 0)
                apart.narrow(axis, 0, length).logical_or_(touch)
                apart.narrow(axis, 1, length).logical_or_(touch)
        labels = labels.masked_fill(apart, 0)
    return labels


def _window(labels: Tensor, offset: Offset, margin: Offset) -> Tensor:
    """The labels at v + offset for every voxel v inside the margin."""
    for axis, (shift, edge) in enumerate(zip(offset, margin, strict=True), start=1):
        labels = labels.narrow(axis, edge + shift, labels.shape[axis] - 2 * edge)
    return labels
