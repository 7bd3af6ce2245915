"""Raw to affinities and to segments by every program and precision that computes a network, side by side.

With one thread, as each worker has: two that wait for each other cost time that no voxel needs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from funlib.geometry import Roi

import contraband as cb
from blockwise.arrays.volume import Volume, create, info, write
from blockwise.grid import Voxels
from contraband.demo.synthetic import em_like
from contraband.experiments.folders import Experiment
from contraband.experiments.params import parse_params
from contraband.experiments.train import train_seg
from contraband.models.engines.base import is_installed
from contraband.models.folder import latest_checkpoint
from contraband.models.hardware import uses_bfloat16
from contraband.models.predictor import load_predictor
from contraband.volumes.settings import VolumeSettings
from tests.benchmarks.report import Row
from tests.benchmarks.runs import call
from tests.support.paths import ROOT
from tests.support.untrained import like_fib25

NAME = "prediction"
PROGRAMS = {
    "torch float32": {"engine": "torch", "precision": "float32"},
    "torch bfloat16": {"engine": "torch", "precision": "bfloat16"},
    "OpenVINO float32": {"engine": "openvino", "precision": "float32"},
    "OpenVINO bfloat16": {"engine": "openvino", "precision": "bfloat16"},
    "OpenVINO int8": {"engine": "openvino", "precision": "int8"},
}
FIRST = "torch float32"
"""What the others are held against."""
THREADS = "OMP_NUM_THREADS"
"""The variable that torch and our use of OpenVINO read."""
TIMES = 2
"""Runs of each, in turn; that with the least CPU time counts. All but the first find what OpenVINO has converted."""
TILE = (64, 64, 64)
"""Of all runs but one."""
SEGMENTED = ("predict", "fragments", "edges", "agglomerate", "segment")


@dataclass(frozen=True)
class Subject:
    """What is predicted, and by which network."""

    checkpoint: Path
    raw: Path
    labels: Path
    network: str
    """Where it comes from, in words."""
    block: Voxels

    @property
    def shape(self) -> Voxels:
        """Of the volume."""
        return info(Volume(path=self.raw)).spatial

    @property
    def voxels(self) -> int:
        """Of the whole volume."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class Cost:
    """What one run cost."""

    affinities_ns: float
    """CPU time inside the blocks of predict, for each voxel."""
    segments_ns: float
    """The same of all stages up to the segments."""
    outside_s: float
    """CPU seconds of the command outside of the blocks."""
    worker_bytes: int
    voi: float
    """Of the best threshold, in bits."""
    engine: dict[str, Any]
    """What `engine: auto` chose, and why; empty where it was told."""
    tile: dict[str, Any]
    """The same of `tile: auto`."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Every program on one volume, what auto chooses, a bare loop, and what a kept conversion saves."""
    work = folder / NAME
    work.mkdir(parents=True, exist_ok=True)
    subject = fib25(quick) or made_up(work, quick)
    with one_thread():
        return measured(work, subject)


@contextmanager
def one_thread() -> Iterator[None]:
    """This process, and those that it starts, compute with one thread."""
    threads, told = torch.get_num_threads(), os.environ.get(THREADS)
    torch.set_num_threads(1)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if told is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = told


def measured(work: Path, subject: Subject) -> list[Row]:
    """All rows about one volume and network."""
    there = {name: how for name, how in PROGRAMS.items() if can_compute(**how)}
    runs: dict[str, list[Cost]] = {name: [] for name in there}
    for before in range(TIMES):
        for name, how in there.items():
            runs[name].append(run(work, subject, how, name.replace(" ", "-"), goes_on=before > 0))
    best = {name: min(costs, key=lambda one: one.affinities_ns) for name, costs in runs.items()}
    rows = [row for name in best for row in program_rows(subject, name, best)]
    ready = {name: ready_ns(work, subject, PROGRAMS[name]) for name in best}
    rows += [bare_row(subject, name, ready[name]) for name in best]
    rows += tile_rows(run(work, subject, {**PROGRAMS[FIRST], "tile": "auto"}), best[FIRST])
    rows += auto_rows(run(work, subject, {"engine": "auto"}), best)
    after = min(cost.segments_ns - cost.affinities_ns for costs in runs.values() for cost in costs)
    large: dict[str, dict[str, Any]] = {"engine auto, tile auto": {"engine": "auto", "tile": "auto"}}
    if "OpenVINO int8" in there:
        large["int8, tile auto"] = {**PROGRAMS["OpenVINO int8"], "tile": "auto"}
    for name, how in large.items():
        cost, took = run(work, subject, how, "chosen"), ready_ns(work, subject, how)
        rows += [*chosen_rows(name, cost, took, after, best[FIRST]), less_row(name, took, ready[FIRST])]
    if "OpenVINO float32" in best:
        rows += kept_rows(work, subject)
    return rows


def can_compute(engine: str, precision: str) -> bool:
    """Whether it is installed, and the processor has the precision: else torch emulates it, many times slower."""
    if not is_installed(engine):
        return False
    if engine == "openvino":
        from contraband.models.engines.openvino import computes_in

        return computes_in(precision)
    return precision == "float32" or uses_bfloat16("auto", torch.device("cpu"))


def program_rows(subject: Subject, name: str, best: dict[str, Cost]) -> list[Row]:
    """CPU time and memory of one, beside torch in float32."""
    cost, first = best[name], best[FIRST]
    size = f"{subject.voxels:,} voxels, {name}"
    times = f"{first.affinities_ns / cost.affinities_ns:.2f} times less than {FIRST}; "
    note = (times if name != FIRST else "") + subject.network
    voi = f"VOI {cost.voi:.3f} bits, {cost.voi - first.voi:+.3f} to {FIRST}"
    peak = f"libraries included; tiles of {'x'.join(map(str, TILE))}"
    return [
        Row(
            f"{size}: raw to affinities",
            cost.affinities_ns,
            "ns CPU/voxel",
            note=note,
        ),
        Row(f"{size}: raw to segments", cost.segments_ns, "ns CPU/voxel", "<= 600", note=voi),
        Row(f"{size}: VOI beyond that of {FIRST}", cost.voi - first.voi, "bits", "<= 0.03"),
        Row(f"{size}: memory of the process that predicts", cost.worker_bytes / 1e6, "MB", note=peak),
        Row(f"{size}: outside of the blocks", cost.outside_s, "s CPU", note="start-up, and all that a run does once"),
    ]


def auto_rows(cost: Cost, best: dict[str, Cost]) -> list[Row]:
    """Whether `engine: auto` takes what costs least of what it may take: integers are for who asks for them."""
    cheapest = min((name for name in best if "int8" not in name), key=lambda name: best[name].affinities_ns)
    took = str(cost.engine.get("engine"))
    in_what = cost.engine.get("precision") or PROGRAMS[cheapest]["precision"]  # torch decides for itself
    is_cheapest = float(PROGRAMS[cheapest] == {"engine": took, "precision": in_what})
    note = f"{took}: {cost.engine.get('why')}; measuring and all else outside of the blocks {cost.outside_s:.1f} s CPU"
    return [Row("engine auto takes the one with less CPU time", is_cheapest, "", ">= 1", None, note)]


def tile_rows(cost: Cost, told: Cost) -> list[Row]:
    """What `tile: auto` saves beside the tiles of all others."""
    size, other = "x".join(map(str, cost.tile["tile"])), "x".join(map(str, TILE))
    note = f"{size} instead of {other}: {cost.tile['why']}; the process took {cost.worker_bytes / 1e6:,.0f} MB"
    gain = told.affinities_ns / cost.affinities_ns
    return [Row(f"tile auto, {FIRST}: raw to affinities", gain, "times less", ">= 1", None, note)]


def chosen_rows(name: str, cost: Cost, ready: float, after: float, first: Cost) -> list[Row]:
    """What a run costs whose tile is chosen, once networks are ready. after: CPU time a voxel of all after predict."""
    voi = f"VOI {cost.voi:.3f} bits, {cost.voi - first.voi:+.3f} to {FIRST}; {after:,.0f} ns of it after predict"
    size = "x".join(map(str, cost.tile["tile"]))
    by = f"{cost.engine['engine']} {cost.engine['precision']}, " if cost.engine else ""
    peak = f"{by}tiles of {size}; libraries included"
    return [
        Row(f"{name}, network ready: raw to segments", ready + after, "ns CPU/voxel", "<= 600", None, voi),
        Row(f"{name}: VOI beyond that of {FIRST}", cost.voi - first.voi, "bits", "<= 0.03"),
        Row(f"{name}: memory of the process", cost.worker_bytes / 1e6, "MB", "", None, peak),
    ]


def less_row(name: str, ready: float, first_ready: float) -> Row:
    """How much less it takes than torch in float32 with the tiles of all others."""
    took = f"{ready:,.0f} and {first_ready:,.0f} ns CPU/voxel"
    what = f"{name}, network ready: raw to affinities"
    return Row(what, first_ready / ready, f"times less than {FIRST}", ">= 4", None, took)


def bare_row(subject: Subject, name: str, ready: float) -> Row:
    """The stage, from stored raw to stored affinities, beside its network computing as many tiles and nothing else.

    ready: its CPU time a voxel once the network is ready.
    """
    how = PROGRAMS[name]
    is_int8 = how["precision"] == "int8"
    predictor = load_predictor(
        subject.checkpoint, "affinities", "cpu", **{**how, "precision": "float32"} if is_int8 else how
    )
    raw = np.random.default_rng(0).integers(0, 255, predictor.input_shape(TILE)).astype(np.uint8)
    if is_int8:
        predictor.compute_in_openvino(None, "int8", predictor.ranges([raw]))
    predictor(raw)  # OpenVINO converts the network for the first tile
    compute: Callable[[], object] = partial(predictor, raw)
    if predictor._engine is not None:
        compute = partial(predictor._engine, np.ascontiguousarray(raw[None, None], np.float32) / 255)
    tiles = int(np.prod([-(-size // step) for size, step in zip(subject.shape, TILE, strict=True)]))
    bare = 1e9 * min(cpu_seconds(compute, tiles) for _ in range(TIMES)) / subject.voxels
    note = f"{ready:,.0f} ns CPU/voxel once the network is ready, {bare:,.0f} of {tiles} tiles and nothing else"
    return Row(f"predict by {name} / a bare loop", ready / bare, "times", "<= 1.1", None, note)


def kept_rows(work: Path, subject: Subject) -> list[Row]:
    """The first and the second start with a folder of networks that OpenVINO has converted."""
    networks = work / "networks"
    shutil.rmtree(networks, ignore_errors=True)
    predictor = load_predictor(subject.checkpoint, "affinities", "cpu")
    raw = np.zeros(predictor.input_shape(TILE), np.uint8)

    def start() -> None:
        predictor.compute_in_openvino(networks)
        predictor(raw)

    first, second = cpu_seconds(start), cpu_seconds(start)
    saved = f"{first:.2f} s instead of {second:.2f} s until the first tile is there"
    return [Row("a kept conversion saves", first - second, "s CPU", "", None, saved)]


def run(work: Path, subject: Subject, how: dict[str, Any], name: str = "auto", goes_on: bool = False) -> Cost:
    """`contraband run` from raw to scores in one process: from nothing, or all again in the output that is there."""
    output = work / f"{name}.zarr"
    if not goes_on:
        forget(output)
    settings = work / "volume.yaml"
    settings.write_text(yaml.safe_dump(told(subject, how, output)), encoding="utf-8")
    redo = ["--redo", "predict"] if goes_on else []
    cpu, _ = call([sys.executable, "-m", "contraband", "run", str(settings), *redo])
    stages = json.loads((output / "report.json").read_text(encoding="utf-8"))["stages"]
    inside = {name: row["cpu_seconds"] for name, row in stages.items()}
    scores = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))["thresholds"]
    told_by = info(Volume(path=output / "affinities")).attributes
    return Cost(
        affinities_ns=1e9 * inside["predict"] / subject.voxels,
        segments_ns=1e9 * sum(inside[name] for name in SEGMENTED) / subject.voxels,
        outside_s=cpu - sum(inside.values()),
        worker_bytes=stages["predict"]["peak_rss_bytes"],
        voi=min(row["voi_sum"] for row in scores),
        engine=told_by.get("engine", {}),
        tile=told_by.get("tile", {}),
    )


def told(subject: Subject, how: dict[str, Any], output: Path) -> dict[str, Any]:
    """The settings of a run in one process."""
    return {
        "volume": {"raw": str(subject.raw), "labels": str(subject.labels)},
        "model": {"checkpoint": str(subject.checkpoint), "device": "cpu", "tile": list(TILE), **how},
        "output": str(output),
        "blocks": {"shape": list(subject.block)},
        "segment": {"thresholds": [0.5]},
        "cluster": {"kind": "none"},
    }


def forget(output: Path) -> None:
    """Remove an output and its store."""
    shutil.rmtree(output, ignore_errors=True)
    for path in output.parent.glob(f"{output.stem}.db*"):
        path.unlink()


def ready_ns(work: Path, subject: Subject, how: dict[str, Any]) -> float:
    """CPU time a voxel from stored raw to stored affinities, once the network is loaded, converted and compiled."""
    output = work / "ready.zarr"
    forget(output)
    settings = VolumeSettings.parse(told(subject, how, output), "bench")
    found = []
    for _ in range(1 + TIMES):
        cb.run(settings, redo="predict", last="predict", progress=False)
        stages = json.loads((output / "report.json").read_text(encoding="utf-8"))["stages"]
        found.append(stages["predict"]["cpu_seconds"])
    forget(output)
    return float(1e9 * min(found[1:]) / subject.voxels)


def fib25(quick: bool) -> Subject | None:
    """The network and the test half of configs/fib25-test.yaml; None where they are not here, or in a hurry."""
    told = yaml.safe_load((ROOT / "configs" / "fib25-test.yaml").read_text(encoding="utf-8"))
    checkpoint, raw = ROOT / told["model"]["checkpoint"], ROOT / told["volume"]["raw"]
    if quick or not checkpoint.is_dir() or not raw.exists():
        return None
    labels = ROOT / told["volume"]["labels"]
    return Subject(latest_checkpoint(checkpoint), raw, labels, "fib25, its network and test half", (64, 128, 128))


def made_up(work: Path, quick: bool) -> Subject:
    """A network of fib25's shape, trained for some steps on a made-up volume, and another such volume; made once."""
    steps, shape = (40, (64, 128, 256)) if quick else (600, (128, 256, 256))
    place = work / f"made-up-{steps}-{'x'.join(map(str, shape))}"
    for seed, half in enumerate(("train", "test"), start=1):
        volume = place / "vol.zarr" / half
        if not (volume / "done").exists():
            for name, values in zip(("raw", "labels"), em_like(shape, seed), strict=True):
                target = Volume(path=volume / name)
                create(target, shape, str(values.dtype), shape)
                write(target, Roi((0, 0, 0), shape), values)
            (volume / "done").touch()
    checkpoint = trained(place, steps)
    network = f"a network of fib25's shape, {steps} steps on a made-up volume"
    block = TILE if quick else (64, 128, 128)
    return Subject(checkpoint, place / "vol.zarr/test/raw", place / "vol.zarr/test/labels", network, block)


def trained(place: Path, steps: int) -> Path:
    """Its checkpoint; a training that is done already is not repeated."""
    seg = {
        "baseline": True,
        "data_file": str(place / "vol.zarr"),
        "dataset": {"train": {"raw": "train/raw", "gt": "train/labels"}},
        "lr": 1e-3,
        "ema_decay": 0.95,
        "num_iterations": steps,
        "save_every": steps,
        "precision": "float32",
        "simple": True,
        "grow_boundary": 1,
    }
    model = like_fib25().model_dump(mode="json") | {"in_shape": [56, 56, 56]}
    experiment = Experiment(place / "experiments" / NAME / "EXP1-bench-1-1-2026")
    experiment.path.mkdir(parents=True, exist_ok=True)
    data = {"model": [model], "seg": {key: [value] for key, value in seg.items()}}
    experiment.param_dict.write_text(json.dumps(data), encoding="utf-8")
    return train_seg(parse_params(data, NAME), experiment, 0)[0]


def cpu_seconds(work: Callable[[], object], times: int = 1) -> float:
    """CPU time of doing it so many times."""
    began = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - began
