"""Whether a prediction keeps its network busy: stored raw to stored affinities, beside the network alone."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from funlib.geometry import Roi

from blockwise.executor import InProcess
from blockwise.run import run_stages
from blockwise.stage import Stage
from blockwise.store import open_store
from blockwise.volume import Volume, create, write
from contraband.models.predictor import Predictor, load_predictor
from contraband.plan import stages
from contraband.training import train_seg
from contraband.volume_settings import VolumeSettings
from tests.benchmarks.report import Row
from tests.contraband.tiny import tiny_experiment

TILE = (32, 64, 64)


def measure_prediction(folder: Path, quick: bool) -> list[Row]:
    """Voxels a second of `predict` as a part of those of a bare loop over the network, data in memory."""
    work = folder / "prediction"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    experiment, params = tiny_experiment(work, 3, baseline=True, seg_head="Simple")
    checkpoint = train_seg(params, experiment, 0)[0]
    shape = (64, 64, 128) if quick else (64, 128, 256)
    stage = prediction(work, checkpoint, shape)
    predictor = load_predictor(checkpoint, "affinities", device="cpu")
    tiles = int(np.prod([size // step for size, step in zip(shape, TILE, strict=True)]))
    bare_loop(predictor, 1)
    times = [(bare_loop(predictor, tiles), through_stage(work, stage)) for _ in range(3)]  # in turn
    bare, whole = (min(column) for column in zip(*times, strict=True))
    voxels = int(np.prod(shape))
    note = f"{voxels / bare:,.0f} voxels/s of the bare loop; one process, CPU, blocks of one tile"
    return [Row(f"predict {voxels:,} voxels / bare loop over the network", bare / whole, "", ">= 0.95", None, note)]


def prediction(folder: Path, checkpoint: Path, shape: tuple[int, int, int]) -> Stage:
    """The stage for a made-up volume."""
    raw = Volume(path=folder / "raw.zarr" / "raw")
    create(raw, shape, "uint8", TILE)
    everything = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    write(raw, Roi((0, 0, 0), shape), everything)
    settings = VolumeSettings.parse({
        "volume": {"raw": str(raw.path)}, "output": str(folder / "out.zarr"), "blocks": {"shape": list(TILE)},
        "model": {"checkpoint": str(checkpoint), "tile": list(TILE), "device": "cpu", "precision": "float32"},
    }, "benchmark")  # fmt: skip
    return stages(settings)[0]


def bare_loop(predictor: Predictor, tiles: int) -> float:
    """Seconds for as many tiles of random raw."""
    raw = np.random.default_rng(0).integers(0, 255, predictor.input_shape(TILE)).astype(np.uint8)
    begin = time.perf_counter()
    for _ in range(tiles):
        predictor(raw)
    return time.perf_counter() - begin


def through_stage(folder: Path, stage: Stage) -> float:
    """Seconds from the first block to the last, marks included."""
    store = open_store(f"sqlite:///{folder.absolute()}/run.db")
    with InProcess(store) as executor:
        begin = time.perf_counter()
        run_stages([stage], store, executor, redo=stage.name)
        seconds = time.perf_counter() - begin
    store.close()
    return seconds
