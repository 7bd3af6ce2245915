"""Whether runs use the device as they should: groups of workers, one GPU shared, how busy it is kept."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distributed import get_task_stream
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, create, open_array, write
from blockwise.cluster.open import open_cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.executor import InProcess, OnDask
from blockwise.store import open_store
from contraband.volumes.line import absolute, stages
from contraband.volumes.settings import VolumeSettings
from tests.benchmarks.report import Row
from tests.gpu.trial import LeftOut, Scene, Trial

EACH_S = 0.1
"""Between two looks at the GPU."""
BUSY_S = 5.0
"""So long it is looked at."""


def groups(trial: Trial) -> Iterator[Row]:
    """Of two workers one has the GPU: it alone predicts, the same bytes as in this process, and the others go on."""
    alone = in_process(trial, "alone")
    found, placed, gpus = on_workers(trial, "groups", {"workers": 2, "gpus": 1})
    elsewhere = [worker for name, worker in placed if name == "predict" and worker not in gpus]
    count = sum(name == "predict" for name, _ in placed)
    note = f"{count} tasks of predict, {len(placed) - count} of fragments"
    yield Row("worker groups: predictions away from the GPU", float(len(elsewhere)), "tasks", "<= 0", None, note)
    yield Row("worker groups: predictions on the GPU", float(count - len(elsewhere)), "tasks", ">= 1")
    yield Row("worker groups: bytes that differ from one process", _differing(alone, found), "", "<= 0")


def shared(trial: Trial) -> Iterator[Row]:
    """Two workers with the same GPU, side by side."""
    alone = in_process(trial, "alone")
    with only_the_first_gpu():
        found, placed, _ = on_workers(trial, "shared", {"workers": 2, "gpus": 2})
    used = {worker for name, worker in placed if name == "predict"}
    yield Row("two workers on one GPU: workers that predicted", float(len(used)), "", ">= 2")
    yield Row("two workers on one GPU: bytes that differ from one process", _differing(alone, found), "", "<= 0")


def speed(trial: Trial) -> Iterator[Row]:
    """Stored raw to stored affinities beside the network alone, over the same tiles; the best of three of each."""
    scene = trial.large
    for precision in ("float32", "bfloat16") if trial.is_gpu else ("float32",):
        with ready(trial, f"speed-{precision}", precision) as run:
            run()
            times = [(_bare(trial, precision), timed(run)) for _ in range(3)]
        bare, whole = (min(column) for column in zip(*times, strict=True))
        rates = [math.prod(scene.shape) / seconds / 1e6 for seconds in (whole, bare)]
        note = f"{rates[0]:.1f} million voxels/s, the bare loop {rates[1]:.1f}; {scene.count} tiles of {scene.tile[0]}"
        # A CPU that computes is also the one that reads and writes, and the blocks of a trial are few.
        goal = ">= 0.9" if trial.is_gpu else ""
        yield Row(f"speed, {precision}: predict / bare loop", bare / whole, "", goal, None, note)


def several(trial: Trial) -> Iterator[Row]:
    """How much faster 1, 2, 4 and 8 workers on one GPU predict, where one process is held up by what it writes.

    Start-up is not counted: a run over the same blocks comes before the one that is timed.
    """
    precision = "bfloat16" if trial.is_gpu else "float32"
    bare = min(_bare(trial, precision) for _ in range(3))
    rate = math.prod(trial.large.shape) / 1e6
    for workers in (1, 2, 4, 8) if trial.is_gpu else (1, 2):
        with only_the_first_gpu():
            seconds = _timed_on_workers(trial, workers, precision)
        note = f"{rate / seconds:.1f} million voxels/s, the bare loop {rate / bare:.1f}"
        yield Row(f"workers on one device, {precision}: {workers} / bare loop", bare / seconds, "", "", None, note)


def _timed_on_workers(trial: Trial, workers: int, precision: str) -> float:
    """Seconds of predicting the large volume; the best of two runs after one that is not timed."""
    cluster = {"kind": "local", "threads": 1, "workers": workers, "gpus": workers if trial.is_gpu else 0}
    settings = settings_of(trial, f"several-{workers}", trial.large, cluster, precision)
    stage = absolute(stages(settings)[0])
    with (
        closing(open_store(settings.store_url)) as store,
        open_cluster(settings.cluster) as client,
        OnDask(client, settings.store_url) as executor,
    ):

        def run() -> object:
            return run_stages([stage], store, executor, RunOptions(redo=stage.name))

        run()
        return min(timed(run) for _ in range(2))


def busy(trial: Trial) -> Iterator[Row]:
    """How much of the time of a prediction the GPU computes, as its driver says."""
    look = _look() if trial.is_gpu else None
    if look is None:
        raise LeftOut("nothing tells how busy a GPU is" if trial.is_gpu else "a CPU is no GPU")
    seen: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(EACH_S):
            seen.append(look())

    watcher = threading.Thread(target=watch, daemon=True)
    with ready(trial, "busy", "float32") as run:
        run()
        watcher.start()
        end = time.monotonic() + BUSY_S  # drivers tell the mean of up to a second
        while time.monotonic() < end:
            run()
        over.set()
        watcher.join()
    if not seen:
        raise LeftOut("the prediction was over before anybody looked")
    yield Row("busy: share of the time in which the GPU computes", float(np.mean(seen)), "%", ">= 80")


def settings_of(trial: Trial, name: str, scene: Scene, cluster: dict[str, Any], precision: str) -> VolumeSettings:
    """Of a run over a volume, which is made once."""
    raw = Volume(path=trial.folder / "raw.zarr" / "x".join(map(str, scene.shape)))
    if not raw.path.exists():
        create(raw, scene.shape, "uint8", scene.tile)
        values = np.random.default_rng(1).integers(0, 255, scene.shape).astype(np.uint8)
        write(raw, Roi((0, 0, 0), scene.shape), values)
    output = trial.folder / f"{name}.zarr"
    for path in (output, *output.parent.glob(f"{name}.db*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    told = {
        "volume": {"raw": str(raw.path)},
        "output": str(output),
        "blocks": {"shape": list(scene.tile)},
        "model": {"checkpoint": str(trial.checkpoint), "precision": precision, "device": trial.device},
        "cluster": {"dashboard": False, **cluster},
    }
    return VolumeSettings.parse(told, "gpu")


@contextmanager
def ready(trial: Trial, name: str, precision: str) -> Iterator[Callable[[], object]]:
    """What predicts the large volume in this process, each time from the first block on."""
    settings = settings_of(trial, name, trial.large, {"kind": "none"}, precision)
    stage = absolute(stages(settings)[0])
    with closing(open_store(settings.store_url)) as store, InProcess(store) as executor:
        yield lambda: run_stages([stage], store, executor, RunOptions(redo=stage.name))


def in_process(trial: Trial, name: str) -> Volume:
    """The affinities of a run over the small volume in this process."""
    settings = settings_of(trial, name, trial.small, {"kind": "none"}, "float32")
    with closing(open_store(settings.store_url)) as store, InProcess(store) as executor:
        run_stages([absolute(stages(settings)[0])], store, executor, RunOptions())
    return Volume(path=settings.output / "affinities")


def on_workers(trial: Trial, name: str, cluster: dict[str, Any]) -> tuple[Volume, list[tuple[str, str]], set[str]]:
    """The affinities of a run on workers; stage and worker of each task; the workers with a GPU."""
    settings = settings_of(trial, name, trial.small, {"kind": "local", "threads": 1, **cluster}, "float32")
    line = [absolute(stage) for stage in stages(settings)[:2]]
    with (
        closing(open_store(settings.store_url)) as store,
        open_cluster(settings.cluster) as client,
        OnDask(client, settings.store_url) as executor,
    ):
        with get_task_stream(client) as stream:
            run_stages(line, store, executor, RunOptions())
        workers = client.scheduler_info()["workers"].items()
        gpus = {address for address, worker in workers if "GPU" in worker["resources"]}
    placed = [(task["key"].split("-")[0], task["worker"]) for task in stream.data]
    return Volume(path=settings.output / "affinities"), placed, gpus


@contextmanager
def only_the_first_gpu() -> Iterator[None]:
    """What is started meanwhile sees one GPU, however many there are."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = (before or "0").split(",")[0]
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _bare(trial: Trial, precision: str) -> float:
    """Seconds for the tiles of the large volume, without anything around them."""
    predictor = trial.predictor(precision=precision)
    raw = trial.raw(predictor, trial.large.tile)
    predictor.quantised(raw)
    return timed(lambda: [predictor.quantised(raw) for _ in range(trial.large.count)])


def _look() -> Callable[[], float] | None:
    """What tells how busy the GPU is, in percent; None if nothing does."""
    try:
        torch.cuda.utilization()
    except Exception:  # of whichever library is not there
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        if Path(shutil.which(command[0]) or "-").exists():
            return lambda: float(subprocess.run(command, capture_output=True, text=True).stdout.split()[0])
        return None
    return lambda: float(torch.cuda.utilization())


def _differing(first: Volume, second: Volume) -> float:
    """How many bytes of two volumes differ."""
    one, other = (np.asarray(open_array(volume)[...]) for volume in (first, second))
    return float(np.count_nonzero(one != other))
