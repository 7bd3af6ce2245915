"""Whether a training learns on the device what it learns on a CPU: steps, augmentation, compiled networks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from contraband.models.hardware import Hardware
from contraband.models.networks import SegmentationNet
from contraband.samples.augment import Augmenter
from contraband.samples.settings import Augmentations
from contraband.training.lessons import affinity_lesson, affinity_target
from contraband.training.state import State
from contraband.training.tasks import Batch, DenseTask, plain
from tests.benchmarks.report import Row
from tests.gpu.trial import Trial

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
MARGIN = (1, 1, 1)
SHAPE = (20, 44, 44)
"""Of the output of a step; a section of raw has its context around it."""


class NoSamples(Dataset[Batch]):
    """Batches are made here."""


@dataclass(frozen=True)
class Learnt:
    """What some steps gave."""

    losses: list[float]
    steps_a_second: float
    """Without the first two, which prepare things."""
    gradient: Tensor
    """Of all weights in the first step."""


def steps(trial: Trial) -> Iterator[Row]:
    """Losses of the same steps on a CPU and on the device, and what autocast does to them."""
    here, there = learn(trial, "cpu"), learn(trial, trial.device)
    reduced = learn(trial, trial.device, {"bfloat16": True})
    note = f"{there.steps_a_second:.1f} steps/s, {here.steps_a_second:.1f} on a CPU; TF32 is allowed in trainings"
    yield Row(
        "training: largest relative difference of losses to a CPU", _apart(here, there), "", "<= 0.01", None, note
    )
    note = f"{reduced.steps_a_second:.1f} steps/s"
    yield Row("training, bfloat16: the same", _apart(here, reduced), "", "<= 0.05", None, note)
    apart = float((there.gradient - here.gradient).norm() / here.gradient.norm())
    yield Row("training: relative difference of the first gradient to a CPU", apart, "", "<= 0.02")


def compiled(trial: Trial) -> Iterator[Row]:
    """The same steps with `compile: true`; on a CPU traced and not compiled, which would need a compiler of C++."""
    plain = learn(trial, trial.device)
    backend = {} if trial.is_gpu else {"backend": "aot_eager"}
    there = learn(trial, trial.device, {"compiled": backend})
    note = f"{there.steps_a_second:.1f} steps/s, {plain.steps_a_second:.1f} without"
    yield Row("compile: largest relative difference of losses", _apart(plain, there), "", "<= 0.01", None, note)


def augmentation(trial: Trial) -> Iterator[Row]:
    """Samples augmented on the device and on a CPU; without noise, which each device draws for itself."""
    told = {"elastic": True, "simple": True, "blur": True, "intensity": True}
    params = {"jitter_sigma": [0.5, 1, 1], "rotation_interval": [0, 3.1], "scale_interval": [0.8, 1.25]}
    settings = Augmentations.parse({**told, "elastic_params": params}, "gpu")
    augmenter, seeds = Augmenter(settings, SHAPE), [1, 2, 3]
    source = torch.rand(3, 1, *augmenter.source_shape, generator=torch.Generator().manual_seed(0))
    found = []
    for device in ("cpu", trial.device):
        geometry = augmenter.draw(seeds, torch.device(device))
        found.append(augmenter.raw(source.to(device), geometry, seeds).cpu())
    # A turned position may round to the other side of a voxel, and the difference is then that of two neighbours'.
    yield Row("augmentation: mean difference to a CPU", float((found[0] - found[1]).abs().mean()), "of 1", "<= 1e-4")


def learn(trial: Trial, device: str, how: Mapping[str, Any] | None = None) -> Learnt:
    """Some steps on one batch, from the weights of a seed.

    how: `bfloat16`, or `compiled` with what `torch.compile` is told.
    """
    how = how or {}
    hardware = Hardware(torch.device(device), bool(how.get("bfloat16")))
    torch.manual_seed(0)
    network = SegmentationNet(trial.model, "Simple", len(OFFSETS))
    lesson = affinity_lesson(OFFSETS, affinity_target(OFFSETS, MARGIN, 1))
    task = DenseTask(network, NoSamples(), None, SHAPE, lesson)
    hardware.place(network, 3).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, fused=True)
    state = State(network, optimizer, [parameter.detach().clone() for parameter in network.parameters()])
    if "compiled" in how:
        network.compile(**how["compiled"])
    batch = {name: value.to(hardware.device) for name, value in _batch(network).items()}
    gradient = torch.zeros(0)
    losses, count, begin = [], 12 if trial.is_gpu else 4, 0.0
    for number in range(count):
        if number == 2:
            begin = time.perf_counter()
        with hardware.autocast():
            loss = task.loss(batch)
        state.learn(loss, 0.998)
        if number == 0:
            gradient = torch.cat([plain(one.grad).flatten() for one in network.parameters() if one.grad is not None])
        losses.append(float(loss.detach()))  # waits for the device
    return Learnt(losses, (count - 2) / (time.perf_counter() - begin), gradient)


def _batch(network: SegmentationNet) -> Batch:
    """Cubes of eight voxels that differ in brightness, and their numbers around the output."""
    context = network.base.context
    whole = [size + lost for size, lost in zip(SHAPE, context, strict=True)]
    rng = np.random.default_rng(0)
    cubes = rng.integers(1, 200, [size // 8 + 1 for size in whole])
    labels = np.kron(cubes, np.ones((8, 8, 8), np.int64))[tuple(slice(0, size) for size in whole)]
    raw = (labels / 255 + rng.normal(0, 0.02, whole)).astype(np.float32)
    inside = tuple(
        slice(lost // 2 - edge, lost // 2 + size + edge)
        for size, lost, edge in zip(SHAPE, context, MARGIN, strict=True)
    )
    return {"raw": torch.from_numpy(raw)[None, None], "labels": torch.from_numpy(labels[inside].copy())[None]}


def _apart(first: Learnt, second: Learnt) -> float:
    pairs = zip(first.losses, second.losses, strict=True)
    return max(abs(one - other) / abs(one) for one, other in pairs)
