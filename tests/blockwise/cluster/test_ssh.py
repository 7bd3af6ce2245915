"""Workers that are started over SSH, by a real server on this machine."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client
from distributed.security import Security

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from tests.support.paths import ROOT
from tests.support.sshd import HOSTS, running_sshd
from tests.support.submitted import Once, run, undisturbed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("asyncssh") is None, reason="asyncssh is not installed"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a user who may log in."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as home:
        yield home


@pytest.fixture
def cluster(served: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A scheduler on one host, a worker on it and on the other."""
    monkeypatch.setenv("HOME", str(served))
    hosts = [HOSTS[0], *HOSTS]
    return Cluster.parse({"kind": "ssh", "hosts": hosts, "memory": "400MB", "dashboard": False}, "cluster")


def started() -> set[int]:
    """Processes that were started over SSH for a run, by what Dask calls them with."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if "distributed.cli.dask_spec" in (process.info["cmdline"] or []):
            found.add(process.pid)
    return found


def ended_within(seconds: float) -> None:
    """Return once nothing is left of what was started; fails after so many seconds."""
    end = time.monotonic() + seconds
    while left := started():
        assert time.monotonic() < end, f"processes {left} are left"
        time.sleep(0.2)


def test_a_run_over_ssh_gives_what_one_in_this_process_gives(cluster: Cluster, tmp_path, caplog) -> None:
    """A worker is killed in the middle, which is told, and nothing is left afterwards."""

    def kill() -> None:
        workers = [child for pid in started() for child in psutil.Process(pid).children(recursive=True)]
        workers = [child for child in workers if "multiprocessing.spawn" in " ".join(child.cmdline())]
        os.kill(workers[0].pid, signal.SIGKILL)

    watch = Once(kill, 5)
    assert run(tmp_path, cluster, 25, 0.2, watch) == undisturbed(tmp_path / "here", 25)
    assert not watch.when
    assert "is lost: signal SIGKILL" in caplog.text
    ended_within(10)


def test_strangers_are_not_let_in(cluster: Cluster) -> None:
    """Scheduler and workers talk by the certificates of the run."""
    with open_cluster(cluster) as client:
        address = client.scheduler.address
        assert address.startswith("tls://")
        assert all(worker.startswith("tls://") for worker in client.scheduler_info(n_workers=-1)["workers"])
        with pytest.raises(OSError, match=r"(?i)timed out|connect|certificate"):
            Client(address, timeout=3, security=Security.temporary(), set_as_default=False)


SCRIPT = """
import sys
from pathlib import Path
from blockwise.cluster.settings import Cluster
from tests.support.submitted import run
def watch(done, total):
    if done >= 3:
        print("ready", flush=True)
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    hosts = sys.argv[2].split(",")
    cluster = Cluster.parse({"kind": "ssh", "hosts": hosts, "memory": "400MB", "dashboard": False}, "cluster")
    run(folder, cluster, 60, 0.5, watch)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_its_driver(cluster: Cluster, tmp_path, how) -> None:
    """After Ctrl-C all is ended at once, after kill -9 within a minute; the next run goes on from there."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), ",".join(cluster.hosts)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
        driver.send_signal(how)
        driver.wait(60)
    ended_within(10 if how == signal.SIGINT else 60)
    assert run(tmp_path, cluster, 60, 0.0) == undisturbed(tmp_path / "here", 60)
