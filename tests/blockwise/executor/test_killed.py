"""A run that lost workers, its scheduler or itself ends with the same volume, or can be taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.cluster import joining
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import Policy, RunOptions, StageResult
from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import InProcess, OnDask
from tests.faults.planned import ALWAYS, DIE_AFTER_WRITE, DIE_BEFORE_WRITE, HOLD_GIL, INTERRUPT, STOP, attempts, plan
from tests.support.lines import BLOCKS, expected, key_of, one, smear, voxels
from tests.support.paths import ROOT
from tests.support.servers import free_port, wait_for_port
from tests.support.toys import SUMS, Idle


def test_interrupting_keeps_what_is_done(source, store, tmp_path):
    """After Ctrl-C the finished blocks are marked, and the next run does just the others."""
    faults = plan(tmp_path / "plan", {key_of(smear(source), 9): [INTERRUPT]})
    stage = smear(source, faults=faults)
    results: list[StageResult] = []
    with InProcess(store) as executor:
        with pytest.raises(KeyboardInterrupt):
            run_stages([stage], store, executor, RunOptions(on_result=results.append))
        done = one(results).blocks_done
        assert done == store.totals("smear").done == 9
        assert one(run_stages([stage], store, executor)).blocks_done == BLOCKS - done
    counted = attempts(faults)
    assert counted.pop(key_of(stage, 9)) == 2
    assert set(counted.values()) == {1}
    assert np.array_equal(voxels(stage.target), expected(source))


@pytest.mark.parametrize("how", [DIE_BEFORE_WRITE, DIE_AFTER_WRITE])
def test_a_killed_worker_changes_nothing(source, store, dask_client, tmp_path, how):
    """The volume and the tables are those of an undisturbed run."""
    faults = plan(tmp_path / "plan", {key_of(smear(source), 3): [how], key_of(smear(source), 11): [how]})
    with OnDask(dask_client, store.url) as executor:
        result = one(run_stages([smear(source, faults=faults)], store, executor))
    assert result.blocks_done == BLOCKS
    assert attempts(faults)[key_of(smear(source), 3)] >= 2
    assert np.array_equal(voxels(smear(source).target), expected(source))
    assert len(list(store.each(SUMS))) == BLOCKS


def test_a_block_that_kills_every_worker_is_given_up(source, store, dask_client, tmp_path):
    """It is the only one that failed; all others are done."""
    bad = key_of(smear(source), 5)
    faults = plan(tmp_path / "plan", {bad: [DIE_BEFORE_WRITE] * ALWAYS})
    with OnDask(dask_client, store.url) as executor, pytest.raises(WorkFailed, match=r"1 blocks failed"):
        run_stages([smear(source, faults=faults)], store, executor, RunOptions(policy=Policy(max_attempts=2)))
    assert store.totals("smear").done == BLOCKS - 1
    assert attempts(faults)[bad] == 3


def test_a_stopped_worker_is_given_up_and_a_busy_one_is_not(store, tmp_path):
    """Neither answers; the blocks of the one that is stopped are run by others, the busy one comes to its end."""
    faults = plan(tmp_path / "plan", {2: [STOP], 5: [HOLD_GIL]})
    with open_cluster(Cluster(dashboard=False)) as client, OnDask(client, store.url, lost_s=1.5) as executor:
        before = set(client.scheduler_info(n_workers=-1)["workers"])
        stage = Idle(blocks=24, seconds=0.1, faults=faults)
        assert one(run_stages([stage], store, executor)).blocks_done == 24
        left = before & set(client.scheduler_info(n_workers=-1)["workers"])
    counted = attempts(faults)
    assert len(left) == 1
    assert (counted[2], counted[5]) == (2, 1)
    assert not store.failures("idle")


def test_a_dead_pool_ends_the_run(store):
    """Without a worker for the time allowed the run stops, and what is done is kept."""
    with open_cluster(Cluster(workers=1, dashboard=False)) as client, OnDask(client, store.url) as executor:
        stage = Idle(blocks=100, seconds=0.1)
        told: list[int] = []

        def progress(name: str, done: int, total: int, note: str = "") -> None:
            if done and max(told, default=0) == 0:
                client.cluster.scale(0)
            told.append(done)

        with pytest.raises(WorkFailed, match="no worker has been alive"):
            run_stages([stage], store, executor, RunOptions(progress=progress, policy=Policy(patience_s=2)))
        assert store.totals("idle").done == told[-1] > 0


def test_a_dead_scheduler_ends_the_run(store, tmp_path, monkeypatch):
    """A cluster that was joined and vanishes ends the run in one line, and what is done is kept."""
    monkeypatch.setattr(joining, "_JOIN_S", 2)
    address = f"tcp://127.0.0.1:{free_port()}"
    command = [str(Path(sys.executable).with_name("dask"))]
    place = ["--host", "127.0.0.1"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    quiet["env"] = {**os.environ, "PYTHONPATH": str(ROOT)}
    scheduler = subprocess.Popen([*command, "scheduler", *place, "--port", address.split(":")[-1]], **quiet)
    wait_for_port(int(address.split(":")[-1]), scheduler)
    workers = subprocess.Popen([*command, "worker", address, *place, "--death-timeout", "20"], **quiet)

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if done:
            scheduler.kill()

    try:
        with open_cluster(Cluster(address=address)) as client, OnDask(client, store.url) as executor:
            stage = Idle(blocks=1000, seconds=0.1)
            with pytest.raises(WorkFailed, match="no worker has been alive"):
                run_stages([stage], store, executor, RunOptions(progress=progress, policy=Policy(patience_s=2)))
        assert 0 < store.totals("idle").done < 1000
    finally:
        scheduler.kill()
        workers.kill()
        scheduler.wait()
        workers.wait()


DRIVER = """
import sys
from pathlib import Path
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.executor import OnDask
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.store import open_store
from tests.support.toys import Idle
if __name__ == "__main__":
    store = open_store(sys.argv[1])
    with open_cluster(Cluster(dashboard=False)) as client, OnDask(client, store.url) as executor:
        stage = Idle(blocks=400, seconds=0.05, faults=Path(sys.argv[2]))
        run_stages([stage], store, executor, RunOptions(progress=lambda name, done, *_: print(done, flush=True)))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_is_stopped_is_taken_up_again(store, tmp_path, how):
    """Ctrl-C or death of the whole run: no finished block is lost that was told, and the next run ends it."""
    folder = plan(tmp_path / "plan", {})
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, store.url, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    told = 0
    while told < 60:
        told = int(process.stdout.readline())
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    told = max([told, *map(int, out.split())])
    assert store.totals("idle").done >= told
    if how == signal.SIGINT:
        assert "KeyboardInterrupt" in err
    with InProcess(store) as executor:
        result = one(run_stages([Idle(blocks=400, faults=folder)], store, executor))
    assert result.blocks_skipped + result.blocks_done == 400
    assert result.blocks_skipped >= told
