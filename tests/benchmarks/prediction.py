"""Whether a prediction keeps its network busy: stored raw to stored affinities, beside the network alone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, create, write
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.executor import Executor, InProcess, OnDask
from blockwise.grid import Voxels
from blockwise.stage import Stage
from blockwise.store import Store, open_store
from contraband.experiments.train import train_seg
from contraband.models.predictor import load_predictor
from contraband.volumes.line import absolute, stages
from contraband.volumes.settings import VolumeSettings
from tests.benchmarks.report import Row
from tests.support.tiny import tiny_experiment

TILE = (32, 64, 64)
BLOCK = (64, 128, 128)
"""The default; the same with blocks of one tile shows what a block costs."""


def measure_prediction(folder: Path, quick: bool) -> list[Row]:
    """Voxels a second of `predict` as a part of those of a bare loop over the network, data in memory.

    The network has as many threads in both. With one a core is left for all else, as beside a GPU; where it has all of
    them, whatever is done beside it is taken from it.
    """
    work = folder / "prediction"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    experiment, params = tiny_experiment(work, 3, baseline=True, seg_head="Simple")
    checkpoint = train_seg(params, experiment, 0)[0]
    shape, most = (64, 256, 256 if quick else 384), torch.get_num_threads()
    stage, small = prediction(work, checkpoint, shape, BLOCK), prediction(work, checkpoint, (64, 128, 256), TILE)
    store = open_store(f"sqlite:///{work.absolute()}/run.db")
    rows = []
    with InProcess(store) as executor:
        for threads, one in ((1, stage), (most, stage), (most, small)):
            torch.set_num_threads(threads)
            rows.append(compare(one, f"one process, {threads} torch threads", bare_loop, store, executor))
    with open_cluster(Cluster(workers=1, dashboard=False)) as client, OnDask(client, store.url) as on_dask:

        def there(checkpoint: Path, tiles: int) -> float:
            seconds: float = client.submit(bare_loop, checkpoint, tiles, pure=False).result()  # type: ignore[no-untyped-call]
            return seconds

        rows.append(compare(stage, "a Dask worker, 1 torch threads", there, store, on_dask))
    store.close()
    return rows


def prediction(folder: Path, checkpoint: Path, shape: Voxels, block: Voxels) -> Stage:
    """The stage for a made-up volume."""
    place = folder / "x".join(map(str, block))
    raw = Volume(path=place / "raw.zarr" / "raw")
    create(raw, shape, "uint8", block)
    write(raw, Roi((0, 0, 0), shape), np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8))
    settings = VolumeSettings.parse(
        {
            "volume": {"raw": str(raw.path)},
            "output": str(place / "out.zarr"),
            "blocks": {"shape": list(block)},
            "model": {"checkpoint": str(checkpoint), "tile": list(TILE), "device": "cpu", "precision": "float32"},
        },
        "benchmark",
    )
    return absolute(stages(settings)[0])


def compare(stage: Stage, where: str, bare: Callable[[Path, int], float], store: Store, executor: Executor) -> Row:
    """The stage beside as many tiles of the bare loop in the same place, in turn; the best of six of each."""
    grid = stage.grid()
    voxels = int(np.prod(grid.volume))
    tiles = voxels // int(np.prod(TILE))
    checkpoint: Path = stage.checkpoint  # type: ignore[attr-defined]
    times = [(bare(checkpoint, tiles), through_stage(stage, store, executor)) for _ in range(6)]
    alone, whole = (min(column) for column in zip(*times, strict=True))
    block = "x".join(map(str, grid.block))
    note = f"{voxels / alone:,.0f} voxels/s of the bare loop; {where}"
    return Row(f"predict {voxels:,} voxels in blocks of {block} / bare loop", alone / whole, "", ">= 0.95", None, note)


def bare_loop(checkpoint: Path, tiles: int) -> float:
    """Seconds for as many tiles of random raw."""
    predictor = load_predictor(checkpoint, "affinities", device="cpu")
    raw = np.random.default_rng(0).integers(0, 255, predictor.input_shape(TILE)).astype(np.uint8)
    predictor(raw)
    begin = time.perf_counter()
    for _ in range(tiles):
        predictor(raw)
    return time.perf_counter() - begin


def through_stage(stage: Stage, store: Store, executor: Executor) -> float:
    """Seconds from the first block to the last, marks included."""
    begin = time.perf_counter()
    run_stages([stage], store, executor, RunOptions(redo=stage.name))
    return time.perf_counter() - begin
