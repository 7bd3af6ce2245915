"""Training against the original's way of it, both in this run: the loss, the loader, and a whole step.

`python -m tests.benchmarks.training [--quick]`. The seed's 2D sizes: views of 260 x 260 with 282 points in the inner
168 x 168, all of its augmentations. The original's way is written afresh in `tests.benchmarks.original`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import gunpowder as gp
import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader

from contraband.experiments.building import contrastive_task
from contraband.experiments.folders import Experiment
from contraband.experiments.params import Params, parse_params
from contraband.experiments.train import train_contrastive
from contraband.models.hardware import choose_hardware
from contraband.models.networks import ContrastiveVolumeNet
from contraband.samples.views import two_views
from contraband.training.loop import batches
from contraband.training.losses import nt_xent
from contraband.training.tasks import ContrastiveTask
from tests.benchmarks.original.chain import Chain
from tests.benchmarks.original.loss import loop_nt_xent
from tests.benchmarks.original.trainer import original_training
from tests.benchmarks.report import Row

NAME = "training"

POINTS, CHANNELS, TEMPERATURE = 1000, 12, 0.05
VOLUME, INPUT, OUTPUT, DENSITY = (16, 600, 600), (1, 260, 260), (1, 168, 168), 0.01
BATCH = 4
MAPS = 16

AUGMENTATIONS: dict[str, Any] = {
    "elastic": True,
    "elastic_params": {
        "control_point_spacing": [1, 10, 10],
        "jitter_sigma": [0.0, 0.1, 0.1],
        "rotation_interval": [0, "pi / 2"],
    },
    "blur": True,
    "blur_params": {"sigma": [0, 1, 1]},
    "simple": True,
    "simple_params": {"mirror_only": [1, 2], "transpose_only": [1, 2]},
    "noise": True,
    "noise_params": {"var": 1e-6},
}


def measure(folder: Path, quick: bool) -> list[Row]:
    """All rows, from a process of its own: loader processes are forked in it, and thread counts change."""
    command = [sys.executable, "-m", "tests.benchmarks.training", "--here", str(folder), *["--quick"] * quick]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [Row(**row) for row in json.loads(output.splitlines()[-1])]


def measure_here(folder: Path, quick: bool) -> list[Row]:
    """All rows, measured in this process."""
    folder = folder / NAME
    make_volume(folder / "raw.zarr")
    with threads(1):
        rows = loss_rows(repeats=1 if quick else 3)
        rows += loader_rows(folder, pairs=12 if quick else 60)
    return rows + step_rows(folder, steps=10 if quick else 40)


def loss_rows(repeats: int) -> list[Row]:
    """Forward and backward of the loss."""
    first, second = torch.randn(2, POINTS, CHANNELS, generator=torch.Generator().manual_seed(0))
    loop = cpu_seconds(lambda: both_ways(loop_nt_xent, first, second), repeats)
    ours = cpu_seconds(lambda: both_ways(nt_xent, first, second), 10 * repeats)
    found, wanted = (both_ways(loss, first.double(), second.double()) for loss in (nt_xent, loop_nt_xent))
    what = f"loss, forward and backward, {POINTS:,} points"
    return [
        Row(f"{what}, original", 1e3 * loop, "CPU ms"),
        Row(what, 1e3 * ours, "CPU ms"),
        Row(f"{what}, how much faster", loop / ours, "times", goal=">= 50"),
        Row(f"loss in float64, {POINTS:,} points, apart from the original", abs(found - wanted), "", goal="<= 1e-12"),
    ]


def loader_rows(folder: Path, pairs: int) -> list[Row]:
    """Pairs of augmented views a CPU second, reading included."""
    original = pairs / original_loading(chain(folder), pairs)
    what = "pairs of augmented views with points"
    rows = [Row(f"{what}, original", original, "pairs/CPU s", note="plain gunpowder, zarr read for every view")]
    for augment, note in (("device", "read and cropped one by one, augmented in batches"), ("loader", "one by one")):
        ours = 4 * pairs / our_loading(parameters(folder, augment), 4 * pairs)
        rows.append(Row(f"{what}, augment: {augment}", ours, "pairs/CPU s", note=f"on the CPU; {note}"))
        rows.append(Row(f"{what}, augment: {augment}, how much faster", ours / original, "times", goal=">= 10"))
    return rows


def step_rows(folder: Path, steps: int) -> list[Row]:
    """Steps a second of a whole training, on all cores."""
    cores = len(os.sched_getaffinity(0))
    params = parameters(folder, "auto", steps)
    network = ContrastiveVolumeNet(params.model[0])
    ours = our_steps_a_second(params, Experiment(folder / "experiments" / "bench" / "EXP1-steps-1-1-2026"))
    alone = network_steps_a_second(params, steps)
    original = original_steps_a_second(chain(folder), network, steps // 2, cores)
    size = f"{sum(parameter.numel() for parameter in network.parameters()) / 1e6:.1f} million weights"
    what = f"training step, {MAPS} maps x 2, one pair"
    return [
        Row(f"{what}, original", original, "steps/s", note=f"gp.torch.Train, PreCache of {cores} processes, loop loss"),
        Row(what, ours, "steps/s", limit=alone, note=f"same network, {size}"),
        Row(f"{what}, how much faster", ours / original, "times", goal=">= 5"),
    ]


def both_ways(loss: Callable[..., torch.Tensor], first: torch.Tensor, second: torch.Tensor) -> float:
    """The loss, after its gradient was made."""
    leaf = first.clone().requires_grad_()
    value = loss(leaf, second, TEMPERATURE)
    value.backward()  # type: ignore[no-untyped-call]
    return float(value.detach())


def original_loading(chain: Chain, pairs: int) -> float:
    """CPU seconds of so many pairs from the original's pipeline."""
    pipeline, request = chain.pipeline(), chain.request()
    with gp.build(pipeline):
        pipeline.request_batch(request)
        begin = time.process_time()
        for _ in range(pairs):
            pipeline.request_batch(request)
        return time.process_time() - begin


def our_loading(params: Params, pairs: int) -> float:
    """CPU seconds of so many pairs as training gets them."""
    combination = params.combination(0)
    assert combination.contrastive is not None
    in_loader = combination.contrastive.augment == "loader"
    task = contrastive_task(combination.model, combination.contrastive, in_loader)
    assert isinstance(task, ContrastiveTask)

    def load() -> None:
        for batch in DataLoader(task.samples, batch_size=BATCH, sampler=range(pairs)):
            if not in_loader:
                two_views(task.augmenter, batch["raw"], batch["seed"].tolist(), task.output_shape, task.count)

    return cpu_seconds(load)


def original_steps_a_second(chain: Chain, network: ContrastiveVolumeNet, steps: int, workers: int) -> float:
    """Steps a second once the first batches are there."""
    with original_training(chain, network, TEMPERATURE, workers) as losses:
        list(islice(losses, workers))
        begin = time.perf_counter()
        list(islice(losses, steps))
        return steps / (time.perf_counter() - begin)


def our_steps_a_second(params: Params, experiment: Experiment) -> float:
    """Steps a second of `contraband train`, after the first two."""
    shutil.rmtree(experiment.path, ignore_errors=True)
    times: list[float] = []
    train_contrastive(params, experiment, 0, lambda *_: times.append(time.perf_counter()))
    return (len(times) - 2) / (times[-1] - times[1])


def network_steps_a_second(params: Params, steps: int) -> float:
    """Steps a second on one and the same pair: what is left when loading costs nothing."""
    combination = params.combination(0)
    settings = combination.contrastive
    assert settings is not None
    hardware = choose_hardware(settings)
    task = contrastive_task(combination.model, settings, in_loader=True)
    network = hardware.place(task.network, dims=2)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr, fused=True)
    batch = next(batches(task, settings, 0, hardware))

    def step() -> None:
        optimizer.zero_grad()
        with hardware.autocast():
            loss = task.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return steps / (time.perf_counter() - begin)


def parameters(folder: Path, augment: str, steps: int = 1) -> Params:
    """An experiment of the seed's sizes on the made-up volume."""
    model = {
        "in_shape": list(INPUT[1:]),
        "num_fmaps": MAPS,
        "downsample_factors": [[2, 2], [2, 2], [2, 2]],
        "kernel_size_down": [[[3, 3], [3, 3]]],
        "kernel_size_down_repeated": 4,
        "kernel_size_up": [[[3, 3], [3, 3]]],
        "kernel_size_up_repeated": 3,
    }
    contrastive = AUGMENTATIONS | {
        "data_file": str(folder / "raw.zarr"),
        "dataset": "raw",
        "num_iterations": steps,
        "augment": augment,
        "point_density": DENSITY,
        "temperature": TEMPERATURE,
        "norm_factor": 1 / 255,
    }
    return parse_params({"model": model, "contrastive": contrastive}, NAME)


def chain(folder: Path) -> Chain:
    """The original's pipeline on the same volume."""
    return Chain(str(folder / "raw.zarr"), "raw", INPUT, OUTPUT, DENSITY)


def make_volume(path: Path) -> None:
    """Noise will do: what is read, moved and multiplied costs the same whatever it shows."""
    if not path.exists():
        raw = np.random.default_rng(0).integers(0, 256, VOLUME, np.uint8)
        zarr.open_group(path, mode="w").create_array("raw", data=raw, chunks=(4, 300, 300))


def cpu_seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of this process for the fastest call; the first, which loads and compiles, is not counted."""
    work()
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        found.append(time.process_time() - begin)
    return min(found)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch computes with so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(arguments: list[str]) -> None:
    """Print the rows as a table; with --here as JSON, measured in this process."""
    quick = "--quick" in arguments
    if "--here" in arguments:
        warnings.simplefilter("ignore", DeprecationWarning)  # the original's ElasticAugment
        folder = Path(arguments[arguments.index("--here") + 1])
        print(json.dumps([asdict(row) for row in measure_here(folder, quick)]))
        return
    for row in measure(Path("out/bench"), quick):
        print(f"{row.what:75} {row.value:12.4g} {row.unit:12} {row.goal:10} {row.limit or '':8} {row.note}")


if __name__ == "__main__":
    main(sys.argv[1:])
