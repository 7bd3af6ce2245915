"""Denoising while labels are learnt: the encoder sees many more images than somebody labelled.

Shape letters: B samples, C channels of raw, P replaced voxels, D = 3 (z, y, x).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from contraband.models.heads import per_point
from contraband.models.networks import SegmentationNet
from contraband.samples.augment import Augmenter
from contraband.samples.joint import JointSamples
from contraband.samples.nodes import sub_seed
from contraband.training.joint_settings import DenoiseSettings
from contraband.training.tasks import Batch, DenseTask, Pictures, SparseTask, spatial

LEAST = 0.2
"""Of the first weight of denoising, what is left of it at the end."""


@dataclass(frozen=True)
class Replaced:
    """Samples in which some voxels show the value of a neighbour."""

    raw: Tensor
    """(B, C, Z, Y, X)."""

    places: Tensor
    """(B, P, 3): the voxels that were replaced."""

    wanted: Tensor
    """(B, P, C): what was there."""


class JointTask:
    """A task on labels whose encoder also learns from as many samples without: to tell what a replaced voxel was."""

    def __init__(
        self,
        labelled: DenseTask | SparseTask,
        samples: JointSamples,
        augmenter: Augmenter | None,
        denoise: DenoiseSettings,
    ) -> None:
        self.labelled = labelled
        self.network: SegmentationNet = labelled.network
        self.samples = samples
        self.augmenter = augmenter
        self.denoise = denoise

    def loss(self, batch: Batch) -> Tensor:
        """That of the labels, and what is left of the weight of denoising times its own; one pass for both."""
        raw, *taught = self.labelled.inputs(batch)
        seeds: list[int] = batch["seed"].tolist()
        others = [sub_seed(seed, 1) for seed in seeds]
        unlabelled = batch["unlabelled"]
        if self.augmenter is not None:
            unlabelled = self.augmenter.raw(unlabelled, self.augmenter.draw(others, unlabelled.device), others)

        replaced = replace_voxels(torch.cat([raw, unlabelled]), [*seeds, *others], self.denoise)
        base = self.network.base
        levels = base.decoded(spatial(replaced.raw, base.dims), self.network.levels)

        loss = self.labelled.judged([level[: len(raw)] for level in levels], *taught)
        weight = self.denoise.weight * (1 - (1 - LEAST) * batch["done"][0])
        return loss + weight * self._restoring(levels, replaced)

    def pictures(self, batch: Batch) -> Pictures:
        """Those of the labelled samples."""
        return self.labelled.pictures(batch)

    def _restoring(self, levels: Sequence[Tensor], replaced: Replaced) -> Tensor:
        """Mean square error at the replaced voxels that the network's output covers."""
        base = self.network.base
        dims = base.dims
        output = torch.tensor(levels[0].shape[2:], device=replaced.places.device)
        source = torch.tensor(replaced.raw.shape[-dims:], device=output.device)
        points = replaced.places[..., 3 - dims :] - (source - output) // 2
        inside = ((points >= 0) & (points < output)).all(-1)
        features = base.sampled(levels, torch.where(inside[..., None], points, 0))
        assert self.network.restoring is not None  # a network for this task has it
        found = per_point(self.network.restoring, features).float()
        with torch.autocast(found.device.type, enabled=False):
            errors = (found - replaced.wanted).square().mean(-1)
            return torch.where(inside, errors, 0.0).sum() / inside.sum().clamp(min=1)


def replace_voxels(raw: Tensor, seeds: Sequence[int], denoise: DenoiseSettings) -> Replaced:
    """Raw (B, C, Z, Y, X) in which a share of the voxels of each sample became one of their neighbours.

    A sample depends on its seed alone. Beyond the border the sample is mirrored; a section has no neighbours in z.
    """
    shape = raw.shape[2:]
    total = int(np.prod(shape))
    count = max(1, round(denoise.share * total))
    drawn = [_drawn(shape, seed, denoise.radius, (total, count), raw.device) for seed in seeds]
    places, neighbours = (torch.stack(pair) for pair in zip(*drawn, strict=True))
    flat = raw.flatten(2)
    wanted = _at(flat, places, shape)
    index = _flat(places, shape)[:, None].expand(-1, raw.shape[1], -1)
    changed = flat.scatter(2, index, _at(flat, neighbours, shape).transpose(1, 2)).reshape(raw.shape)
    return Replaced(changed, places, wanted)


def _drawn(
    shape: Sequence[int], seed: int, radius: int, counts: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """`counts[1]` different voxels (P, 3) of `counts[0]`, and a neighbour of each."""
    total, count = counts
    generator = torch.Generator(device).manual_seed(sub_seed(seed, 2))
    flat = torch.randperm(total, generator=generator, device=device)[:count]
    places = torch.stack(torch.unravel_index(flat, tuple(shape)), dim=1)
    reach = [radius if extent > 1 else 0 for extent in shape]
    sides = [2 * far + 1 for far in reach]
    around = int(np.prod(sides))
    step = torch.randint(around - 1, (count,), generator=generator, device=device)
    step = step + (step >= around // 2)  # the middle is the voxel itself
    steps = torch.stack(torch.unravel_index(step, tuple(sides)), dim=1) - torch.tensor(reach, device=device)
    last = torch.tensor(shape, device=device) - 1
    moved = (places + steps).abs()
    return places, torch.where(moved > last, (2 * last - moved).clamp(min=0), moved)


def _flat(places: Tensor, shape: Sequence[int]) -> Tensor:
    z, y, x = places.unbind(-1)
    return (z * shape[1] + y) * shape[2] + x


def _at(flat: Tensor, places: Tensor, shape: Sequence[int]) -> Tensor:
    """Values (B, P, C) of (B, C, N) at voxels (B, P, 3)."""
    index = _flat(places, shape)[:, None].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).transpose(1, 2)
