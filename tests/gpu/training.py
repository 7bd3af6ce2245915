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

from contraband.models.hardware import Hardware, exact_convolutions
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


FEW = 4
"""Steps compared one by one: Adam turns the rounding of small gradients into steps of full size, and it adds up."""
RATE = 3e-4
"""Small enough that losses go down from the first step on: at ten times this, rounding grew into other losses."""


@dataclass(frozen=True)
class Learnt:
    """What some steps gave."""

    losses: list[float]
    steps_a_second: float
    """Without the first two, which prepare things."""
    gradient: Tensor
    """Of all weights in the first step."""

    @property
    def outcome(self) -> float:
        """The mean loss of the last tenth."""
        return float(np.mean(self.losses[-max(len(self.losses) // 10, 1) :]))


def steps(trial: Trial) -> Iterator[Row]:
    """The same steps on a CPU and on the device; then longer, whether as much is learnt with fewer bits."""
    many = 300 if trial.is_gpu else 6
    here = learn(trial, "cpu", FEW)
    with exact_convolutions():
        exact = learn(trial, trial.device, many)
    pairs = list(zip(here.losses, exact.losses, strict=False))
    apart = max(abs(one - other) / abs(one) for one, other in pairs)
    note = f"{len(pairs)} steps; {here.steps_a_second:.1f} steps/s on a CPU, {exact.steps_a_second:.1f} on the device"
    yield Row("training: largest relative difference of losses to a CPU", apart, "", "<= 0.01", None, note)
    yield Row("training: relative difference of the first gradient to a CPU", _turned(here, exact), "", "<= 1e-3")
    yield _outcome("training in float32", trial, exact)
    for name, how, most in (("TF32", {}, 0.03), ("bfloat16", {"bfloat16": True}, 0.1)):
        found = learn(trial, trial.device, many, how)
        turned = _turned(here, found)
        yield Row(f"training in {name}: relative difference of the first gradient", turned, "", f"<= {most}")
        yield _outcome(f"training in {name}", trial, found)


def compiled(trial: Trial) -> Iterator[Row]:
    """The same steps with `compile: true`; on a CPU traced and not compiled, which would need a compiler of C++."""
    backend = {} if trial.is_gpu else {"backend": "aot_eager"}
    many = 300 if trial.is_gpu else 6
    with exact_convolutions():
        exact = learn(trial, trial.device, FEW)
        found = learn(trial, trial.device, many, {"compiled": backend})
    yield Row("compile: relative difference of the first gradient", _turned(exact, found), "", "<= 1e-3")
    yield _outcome("compile", trial, found)


def _outcome(name: str, trial: Trial, found: Learnt) -> Row:
    """What is left of the loss; a GPU has the time to learn the batch by heart."""
    goal = "<= 0.05" if trial.is_gpu else "<= 1.05"
    value = found.outcome if trial.is_gpu else found.outcome / found.losses[0]
    unit = "" if trial.is_gpu else "of the first"
    note = f"{found.losses[0]:.2f} at first; {found.steps_a_second:.1f} steps/s"
    return Row(f"{name}: loss after {len(found.losses)} steps", value, unit, goal, None, note)


def _turned(one: Learnt, other: Learnt) -> float:
    return float((other.gradient - one.gradient).norm() / one.gradient.norm())


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


def learn(trial: Trial, device: str, count: int, how: Mapping[str, Any] | None = None) -> Learnt:
    """So many steps on one batch, from the weights of a seed.

    how: `bfloat16`, or `compiled` with what `torch.compile` is told.
    """
    how = how or {}
    hardware = Hardware(torch.device(device), bool(how.get("bfloat16")))
    torch.manual_seed(0)
    network = SegmentationNet(trial.model, "Simple", len(OFFSETS))
    lesson = affinity_lesson(OFFSETS, affinity_target(OFFSETS, MARGIN, 1))
    task = DenseTask(network, NoSamples(), None, SHAPE, lesson)
    hardware.place(network, 3).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, fused=True)
    state = State(network, optimizer, [parameter.detach().clone() for parameter in network.parameters()])
    if "compiled" in how:
        network.compile(**how["compiled"])
    batch = {name: value.to(hardware.device) for name, value in _batch(network).items()}
    gradient = torch.zeros(0)
    losses, begin = [], 0.0
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
