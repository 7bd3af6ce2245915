"""Clusters: what is refused, what is submitted, what is left behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace
from urllib.parse import urlsplit

import psutil
import pytest
from distributed import Worker
from distributed.comm import CommClosedError

from blockwise.cluster import joining
from blockwise.cluster.open import dashboard_address, job_script, open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput
from blockwise.executor import OnDask
from blockwise.executor.ondask.pool import is_here, slots_of
from tests.support.paths import ROOT
from tests.support.servers import free_port
from tests.support.toys import Idle


def fake_client(*workers: dict[str, object], address: str = "tcp://127.0.0.1:1") -> SimpleNamespace:
    """A client whose scheduler knows these workers."""
    common = {"nthreads": 1, "last_seen": time.time()}
    known = {f"{address}{place}": {**common, **worker} for place, worker in enumerate(workers)}
    return SimpleNamespace(scheduler_info=lambda n_workers: {"workers": known})


def test_the_slurm_script_asks_for_what_the_settings_say():
    """Queue, time, memory, threads, directives and prologue are in the script, one kind of worker each."""
    settings = Cluster(
        kind="slurm",
        workers=4,
        gpus=1,
        threads=2,
        memory="8GB",
        queue="short",
        walltime="01:30:00",
        account="lab",
        directives=("--constraint=x",),
        prologue=("module load cuda",),
    )
    script = job_script(settings)
    plain, gpu = script.split("#!/usr/bin/env bash")[1:]
    for line in ("-p short", "-t 01:30:00", "--mem=8G", "--cpus-per-task=2", "--constraint=x", "-A lab"):
        assert f"#SBATCH {line}\n" in plain
        assert f"#SBATCH {line}\n" in gpu
    assert "export OMP_NUM_THREADS=2\n" in plain
    assert "module load cuda\n" in plain
    assert "--gres=gpu:1" in gpu
    assert "--resources GPU=1" in gpu
    assert "GPU" not in plain
    assert "srun" not in script


@pytest.mark.parametrize("kind", ["lsf", "pbs"])
def test_other_batch_systems_have_scripts_too(kind):
    """LSF and PBS get their own directives."""
    script = job_script(Cluster(kind=kind, memory="8GB", account="lab"))
    assert {"lsf": "#BSUB", "pbs": "#PBS"}[kind] in script
    assert "lab" in script


def test_no_script_for_a_cluster_without_jobs():
    """Only batch systems have one."""
    with pytest.raises(BadInput, match="submits no jobs"):
        job_script(Cluster())


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"gpus": 3}, "gpus"),
        ({"kind": "slurm"}, "memory"),
        ({"kind": "ssh"}, "hosts"),
        ({"kind": "ssh", "hosts": ["one", "two"], "workers": 2}, "workers must be 1"),
        ({"kind": "ssh", "hosts": ["one", "two"], "gpus": 2}, "gpus must be at most workers"),
        ({"workers": 0}, "workers"),
        ({"kind": "magic"}, "kind"),
        ({"wokers": 1}, "wokers"),
    ],
)
def test_settings_that_cannot_work_are_refused(data, word):
    """One line that names the key."""
    with pytest.raises(BadInput, match=word):
        Cluster.parse(data, "cluster")


@pytest.mark.parametrize(
    ("data", "local"),
    [
        ({}, True),
        ({"kind": "none"}, True),
        ({"kind": "slurm", "memory": "1GB"}, False),
        ({"address": "tcp://10.0.0.5:8786"}, False),
        ({"address": "tcp://127.0.0.1:8786"}, True),
    ],
)
def test_a_cluster_knows_whether_it_is_on_this_machine(data, local):
    """So that SQLite can be refused in time."""
    assert Cluster.parse(data, "cluster").is_local is local


def test_an_address_where_nobody_listens_is_refused(monkeypatch):
    """After the time allowed (ten seconds), in one line."""
    monkeypatch.setattr(joining, "_JOIN_S", 2)
    begin = time.monotonic()
    with (
        pytest.raises(BadInput, match="no Dask scheduler answers"),
        open_cluster(Cluster(address=f"tcp://127.0.0.1:{free_port()}")),
    ):
        pass
    assert time.monotonic() - begin < 8


def test_a_resource_that_no_worker_has_is_refused():
    """Dask would wait for ever without a word."""
    executor = OnDask(fake_client({"resources": {"GPU": 1}}, {}), "sqlite:///x.db")
    executor.check(Idle(blocks=1))
    executor.check(Idle(blocks=1, needs_gpus=1))
    with pytest.raises(BadInput, match="no worker has what this stage needs"):
        executor.check(Idle(blocks=1, needs_gpus=2))


def test_a_promised_resource_may_come_later():
    """Jobs with a GPU may still wait in the queue."""
    executor = OnDask(fake_client({}), "mongodb://host/db", promised={"GPU": 1})
    executor.check(Idle(blocks=1, needs_gpus=1))


def test_workers_that_died_a_moment_ago_are_waited_for():
    """A stage that begins just then is not refused: nothing is known of the workers that come in their place."""
    OnDask(fake_client(), "sqlite:///x.db").check(Idle(blocks=1, needs_gpus=1))
    client = fake_client({"resources": {"GPU": 1}}, {})
    executor = OnDask(client, "sqlite:///x.db")
    assert executor._pool.alive({"GPU": 1}) == 1
    client.scheduler_info = fake_client({}).scheduler_info
    executor.check(Idle(blocks=1, needs_gpus=1))


def test_sqlite_is_refused_for_workers_elsewhere():
    """A file on this machine is no store for theirs; MongoDB is."""
    client = fake_client({}, address="tcp://203.0.113.7:4000")
    with pytest.raises(BadInput, match="SQLite"):
        OnDask(client, "sqlite:///x.db").check(Idle(blocks=1))
    OnDask(client, "mongodb://host/db").check(Idle(blocks=1))


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"kind": "local", "memory": "1KB"}, "cluster.memory"),
        ({"kind": "local", "memory": "99MB"}, "cluster.memory"),
        ({"kind": "local", "workers": 10**6}, "cluster.workers"),
        ({"kind": "local", "memory": "100MB"}, None),
        ({"kind": "none", "memory": "1KB"}, None),
        ({"kind": "slurm", "memory": "1KB"}, None),
        ({"kind": "local", "memory": "1KB", "address": "tcp://127.0.0.1:1"}, None),
    ],
)
def test_workers_with_less_memory_than_one_takes_by_itself_are_refused(data, key):
    """They would be ended and started again, each with a line, until the run gives up."""
    cluster = Cluster.parse(data, "cluster")
    if key is None:
        cluster.check_memory()
        return
    with pytest.raises(BadInput, match=f"{key}: leaves workers too little memory"):
        cluster.check_memory()


def test_addresses_of_this_machine_are_known():
    """Loopback and its own interfaces, not others."""
    assert is_here("tcp://127.0.0.1:4000")
    assert is_here("inproc://10.1.1.1/2/3")
    assert not is_here("tcp://203.0.113.7:4000")


def test_slots_follow_threads_and_resources():
    """A worker with four threads and one GPU runs one block at a time that needs it."""
    assert slots_of({"nthreads": 4, "resources": {"GPU": 1}}, {"GPU": 1}) == 1
    assert slots_of({"nthreads": 4, "resources": {"GPU": 1}}, {}) == 4
    assert slots_of({"nthreads": 4}, {"GPU": 1}) == 0


def test_a_local_cluster_has_its_groups_and_leaves_nothing():
    """Threads, GPU workers and the dashboard are as asked, on this machine only; afterwards no process is left."""
    settings = Cluster(workers=2, gpus=1, dashboard=free_port())
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_cluster(settings) as client:
            workers = client.scheduler_info()["workers"].values()
            assert [worker["resources"].get("GPU", 0) for worker in workers] in ([1, 0], [0, 1])
            seen = client.run(lambda: [os.environ[name] for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")])
            assert sorted(seen.values()) == [["1", ""], ["1", "0"]]
            assert dashboard_address(client) == f"http://127.0.0.1:{settings.dashboard}/status"
            assert listening() == {"127.0.0.1"}
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert not [pid for pid in left if "spawn_main" in " ".join(psutil.Process(pid).cmdline())]


async def lose_a_heartbeat(dask_worker: Worker) -> list[str]:
    """What a worker logs that cannot reach the scheduler any more."""
    said: list[str] = []
    logger, scheduler = logging.getLogger("distributed.worker"), dask_worker.scheduler
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)

    async def lost(**_: object) -> None:
        raise CommClosedError("the stream is closed")

    try:
        dask_worker.scheduler = SimpleNamespace(heartbeat_worker=lost)
        await dask_worker.heartbeat()
        logger.error("something else")
    finally:
        dask_worker.scheduler = scheduler
        logger.removeHandler(handler)
    return said


def test_a_lost_heartbeat_is_not_told():
    """It fails as the driver closes or is gone, and each worker would print a traceback; anything else is told."""
    with open_cluster(Cluster(workers=1, dashboard=False)) as client:
        answers = client.run(lose_a_heartbeat)
    assert list(answers.values()) == [["something else"]]


def test_a_dashboard_whose_port_is_taken_has_another():
    """Its address says which, and nothing else does, also if two runs are started at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # tornado leaves a socket to the collector
        port = taken.getsockname()[1]
        with open_cluster(Cluster(workers=1, dashboard=port)) as client:
            place = urlsplit(dashboard_address(client))
            assert place.hostname == "127.0.0.1"
            assert place.port not in (None, port)


def listening() -> set[str]:
    """Addresses on which this process and its children accept connections."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    found = [one for process in processes for one in process.net_connections()]
    return {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}


HELD_OPEN = """
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
import psutil, time
if __name__ == "__main__":
    with open_cluster(Cluster(dashboard=False)):
        print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_run(how):
    """Neither Ctrl-C in the terminal nor the death of the driver leaves workers behind."""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD_OPEN],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) >= 2
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    process.communicate(timeout=30)
    end = time.monotonic() + 15
    while time.monotonic() < end and any(is_alive(pid) for pid in pids):
        time.sleep(0.1)
    assert not [pid for pid in pids if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
