"""A real SLURM of one node on this machine, for tests; a fixture says why where there is none."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.packages import one_installs
from tests.support.paths import ROOT

FOLDER = "CONTRABAND_SLURM"
"""Names the folder with `start` and `stop`, if it is not beside the checkout."""
_PORT = 6817
_START_S = 200
"""Debian's packages are installed if they are missing."""


class Slurm:
    """The commands of a SLURM that runs, as an administrator may use them."""

    def __init__(self, configuration: str) -> None:
        self.environment = {**os.environ, "SLURM_CONF": configuration}

    def command(self, *words: str) -> str:
        """What a command of SLURM says."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self, state: str = "") -> list[str]:
        """Numbers of the jobs that have not ended; of those in a state, such as RUNNING."""
        lines = self.command("squeue", "-h", "-o", "%i %T").splitlines()
        found = [line.split() for line in lines]
        return [job for job, one in found if not state or one == state]

    def cancel(self, *jobs: str) -> None:
        """As their owner would."""
        for job in jobs:
            with suppress(AssertionError):  # it may just have ended
                self.command("scancel", job)

    def partition(self, state: str) -> None:
        """Let jobs be started ("UP") or not ("DOWN")."""
        self.command("scontrol", "update", "PartitionName=main", f"State={state}")

    def called(self, name: str) -> list[str]:
        """Numbers of the jobs of that name that have not ended."""
        lines = self.command("squeue", "-h", "-o", "%i %j").splitlines()
        return [job for job, one in (line.split() for line in lines) if one == name]

    def give_gpu(self) -> None:
        """Have the node say that it has a GPU, which is a file that is always there; no job may be there."""
        path = Path(self.environment["SLURM_CONF"])
        if "GresTypes" in path.read_text():
            return
        lines = path.read_text().splitlines()
        said = [f"{line} Gres=gpu:1" if line.startswith("NodeName=") else line for line in lines]
        path.write_text("\n".join(["GresTypes=gpu", *said, ""]))
        (path.parent / "gres.conf").write_text("AutoDetect=off\nName=gpu File=/dev/null\n")
        for name in ("d.pid", "ctld.pid"):
            os.kill(int((path.parent / name).read_text()), signal.SIGTERM)
        _wait_for_silence()
        for daemon in ("slurmctld", "slurmd"):
            self.command(daemon, "-f", str(path))
        end = time.monotonic() + 60
        while self._state() not in ("idle", "idle*"):
            assert time.monotonic() < end, self.command("sinfo", "-R")
            time.sleep(0.5)
        self.share()

    def share(self) -> None:
        """Let several jobs be on one core, as those of tests need little."""
        self.command("scontrol", "update", "PartitionName=main", "OverSubscribe=FORCE:8")

    def _state(self) -> str:
        """Of the node, in SLURM's word; nothing as long as it does not answer."""
        with suppress(AssertionError):
            return self.command("sinfo", "-h", "-o", "%T")
        return ""

    def wait_for_pending(self, seconds: float) -> None:
        """Return once a job waits in the queue; fails after so many seconds."""
        end = time.monotonic() + seconds
        while not self.jobs("PENDING"):
            assert time.monotonic() < end, "no job waits"
            time.sleep(0.2)

    def wait_until_empty(self, seconds: float) -> float:
        """Return once no job is left, and how long that took; fails after so many seconds."""
        begin = time.monotonic()
        while left := self.jobs():
            assert time.monotonic() - begin < seconds, f"jobs {left} are left"
            time.sleep(0.5)
        return time.monotonic() - begin


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """A SLURM that ends with the context; skips the test, with the reason, where none can be had."""
    scripts = Path(os.environ.get(FOLDER, ROOT.parent / "shared" / "slurm"))
    if not (scripts / "start").exists():
        pytest.skip(f"needs a SLURM: there is no ../shared/slurm/start, and {FOLDER} names no folder with one")
    if os.geteuid() != 0:
        pytest.skip("needs a SLURM, which only root can start")
    if shutil.which("slurmctld") is None and shutil.which("apt-get") is None:
        pytest.skip("needs a SLURM: neither slurmctld nor apt-get is here")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", _PORT)) == 0:
            pytest.skip(f"needs a SLURM of its own, and another one listens on port {_PORT}")
    command = ["bash", str(scripts / "start"), str(folder)]
    # Its daemons go on, and would hold a pipe open: what it says goes into a file.
    with (folder / "said").open("w+") as said, one_installs():
        try:
            done = subprocess.run(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, timeout=_START_S)
        except subprocess.TimeoutExpired:
            pytest.skip(f"needs a SLURM, and it was not installed and started within {_START_S} s")
        said.seek(0)
        lines = said.read().split("\n")
    try:
        if done.returncode:
            pytest.skip(f"needs a SLURM, and it did not start: {' '.join(lines)[-300:]}")
        found = Slurm(next(line for line in reversed(lines) if line.strip()))
        found.share()
        yield found
    finally:
        subprocess.run(["bash", str(scripts / "stop"), str(folder)], check=False)
        _wait_for_silence()


def _wait_for_silence() -> None:
    """Until the port is free again, for the next one."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", _PORT)):
                return
        time.sleep(0.1)
