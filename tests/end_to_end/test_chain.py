"""Predict on workers with a GPU, fragments and edges beside it on others: the same bytes as one after the other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import get_task_stream

from blockwise.arrays.volume import Volume
from blockwise.cluster.open import open_cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.executor import OnDask
from blockwise.store import open_store
from contraband.experiments.train import train_seg
from contraband.volumes.line import absolute, stages
from contraband.volumes.output import Output
from contraband.volumes.run import execute
from contraband.volumes.settings import load_volume_settings
from tests.support.paths import ROOT
from tests.support.tiny import tiny_experiment
from tests.support.volumes import digest, store_volume
from tests.support.waiting import waiting_line

SHAPE = (96, 24, 24)
BLOCKS = 24
CHAIN = ["predict", "fragments", "edges"]
SETTINGS = """
volume:      {{raw: {folder}/raw.zarr/raw}}
model:       {{checkpoint: {checkpoint}, tile: [4, 24, 24], device: cpu, precision: float32}}
output:      {folder}/{name}.zarr
blocks:      {{shape: {block}}}
segment:     {{thresholds: [0.5]}}
cluster:     {{{cluster}, threads: 1, dashboard: false}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw and a tiny trained network."""
    torch.set_num_threads(1)  # as many as a worker has: the sums of a network depend on it
    path = tmp_path_factory.mktemp("chain")
    cells = np.kron(np.random.default_rng(1).integers(100, 255, (12, 3, 3)), np.ones((8, 8, 8))).astype(np.uint8)
    cells[::8] = cells[:, ::8] = cells[:, :, ::8] = 0
    store_volume(path / "raw.zarr" / "raw", cells)
    experiment, params = tiny_experiment(path, 3, baseline=True, seg_head="Simple")
    (path / "checkpoint").write_text(str(train_seg(params, experiment, 0)[0]))
    return path


def settings_of(folder: Path, name: str, cluster: str = "gpus: 1, workers: 2, chain: auto", depth: int = 4) -> Path:
    """A settings file."""
    path, checkpoint = folder / f"{name}.yaml", (folder / "checkpoint").read_text()
    block = [depth, *SHAPE[1:]]
    path.write_text(SETTINGS.format(folder=folder, checkpoint=checkpoint, name=name, cluster=cluster, block=block))
    return path


def written(folder: Path, name: str) -> list[str]:
    """Digests of everything that a run wrote."""
    return [digest(Volume(path=folder / f"{name}.zarr" / part)) for part in ("affinities", "fragments", "segments/0.5")]


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> list[str]:
    """Digests of a run in one process, one stage after the other, in other blocks."""
    settings = load_volume_settings(settings_of(folder, "undisturbed", "kind: none", 32))
    execute(settings, stages(settings), RunOptions())
    return written(folder, "undisturbed")


def test_a_chain_on_two_kinds_of_workers_gives_the_same_bytes(folder: Path, undisturbed: list[str]) -> None:
    """Only the worker with a GPU predicts, it does nothing else until that is done, and edges do not wait for it."""
    settings = load_volume_settings(settings_of(folder, "chained"))
    store = open_store(settings.store_url)
    with open_cluster(settings.cluster) as client, OnDask(client, settings.store_url) as executor:
        with get_task_stream(client) as stream:
            run_stages([absolute(stage) for stage in waiting_line(settings)], store, executor, RunOptions(chain="auto"))
        gpus = {name for name, worker in client.scheduler_info()["workers"].items() if "GPU" in worker["resources"]}
    store.close()
    assert written(folder, "chained") == undisturbed
    # In the order in which they ended; times of different workers are compared by Dask's guess of their clocks only.
    ended = [(task["key"].split("-")[0], task["worker"]) for task in stream.data]
    assert {worker for name, worker in ended if name == "predict"} == gpus
    last = max(number for number, (name, _) in enumerate(ended) if name == "predict")
    for wanted in CHAIN[1:]:
        early = [worker for name, worker in ended[:last] if name == wanted]
        assert early
        assert not gpus.intersection(early)


DRIVER = """
import os, signal, sys
from blockwise.engine.options import RunOptions
from contraband.volumes.run import execute
from contraband.volumes.settings import load_volume_settings
from pathlib import Path
from tests.support.waiting import waiting_line
def progress(name, done, *_):
    if name == "edges" and done:
        os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    settings = load_volume_settings(Path(sys.argv[1]))
    execute(settings, waiting_line(settings), RunOptions(progress=progress))
"""


def test_a_killed_chain_ends_the_same(folder: Path, undisturbed: list[str]) -> None:
    """Its driver killed with -9 while all three stages are under way, and started again."""
    path = settings_of(folder, "killed")
    dead = subprocess.run([sys.executable, "-c", DRIVER, str(path)], cwd=ROOT, check=False, timeout=240)
    assert dead.returncode == -signal.SIGKILL
    settings = load_volume_settings(path)
    store = open_store(settings.store_url)
    before = {name: store.totals(name).done for name in CHAIN}
    store.close()
    assert all(0 < done < BLOCKS for done in before.values())
    execute(settings, stages(settings), RunOptions())
    rows = json.loads(Output(settings.output).report.read_text())["stages"]
    assert {name: rows[name]["blocks_skipped"] for name in CHAIN} == before
    assert {name: rows[name]["blocks_done"] + before[name] for name in CHAIN} == dict.fromkeys(CHAIN, BLOCKS)
    assert written(folder, "killed") == undisturbed
