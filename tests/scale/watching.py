"""A run watched from outside: what its processes take, and its segments summed up and deleted shard by shard."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.paths import ROOT

POLL_S = 0.1


@dataclass
class Watched:
    """What is known of a run so far, over all its starts; plain, so that an interrupted measurement goes on."""

    cpu_seconds: float = 0.0
    driver_seconds: float = 0.0
    wall_seconds: float = 0.0
    driver_bytes: int = 0
    """The most memory that the process with the stages has held."""
    worker_bytes: int = 0
    """The same of any other process."""
    kills: int = 0
    starts: int = 0
    segments_bytes: int = 0
    sums: dict[str, str] = field(default_factory=dict)
    """sha256 of each shard of segments, by its path in the output."""


@dataclass
class Watcher:
    """One start of a run."""

    output: Path
    watched: Watched
    cpu: dict[int, float] = field(default_factory=dict)

    def start(self, command: list[str], log: Path, is_due: Callable[[Watched], bool]) -> bool:
        """Run the command until it ends, or until it is due to be killed, with all its processes.

        Returns whether it ended by itself; raises RuntimeError, with its last lines, if it failed.
        """
        begin = time.perf_counter()
        self.watched.starts += 1
        with log.open("ab") as said:
            process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
        try:
            was_killed = self.watch(process, is_due)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.watched.wall_seconds += time.perf_counter() - begin
            self.watched.cpu_seconds += sum(self.cpu.values())
            self.watched.driver_seconds += self.cpu.get(process.pid, 0.0)
        if not was_killed and process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text(encoding='utf-8')[-4000:]}")
        return not was_killed

    def watch(self, process: subprocess.Popen[bytes], is_due: Callable[[Watched], bool]) -> bool:
        """Look again and again until it has ended; whether it was killed."""
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            self.look(driver)
            self.take_segments()
            if is_due(self.watched):
                os.killpg(process.pid, signal.SIGKILL)
                self.watched.kills += 1
                return True
            time.sleep(POLL_S)
        self.take_segments()
        return False

    def look(self, driver: psutil.Process) -> None:
        """Processor time and largest memory of the driver and all its children."""
        with suppress(psutil.NoSuchProcess):
            for one in (driver, *driver.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
                    times = one.cpu_times()
                    self.cpu[one.pid] = times.user + times.system
                    most = most_bytes(one.pid)
                    if one.pid == driver.pid:
                        self.watched.driver_bytes = max(self.watched.driver_bytes, most)
                    else:
                        self.watched.worker_bytes = max(self.watched.worker_bytes, most)

    def take_segments(self) -> None:
        """Sum up and delete all shards of segments that are whole; raises RuntimeError for one made twice unlike."""
        for path in shards(self.output / "segments"):
            with suppress(FileNotFoundError):
                data = path.read_bytes()
                path.unlink()
                name, found = str(path.relative_to(self.output)), hashlib.sha256(data).hexdigest()
                if name not in self.watched.sums:
                    self.watched.segments_bytes += len(data)
                if self.watched.sums.setdefault(name, found) != found:
                    raise RuntimeError(f"{path} was written again, and is another")


def most_bytes(pid: int) -> int:
    """The most memory that a process has held, as Linux has noted it."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def shards(folder: Path) -> list[Path]:
    """Files of voxels below a folder, but those that are being written."""
    return [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if "c" in Path(place).relative_to(folder).parts and not name.endswith(".partial")
    ]


def command(settings: Path) -> list[str]:
    """What is run."""
    return [sys.executable, "-m", "contraband", "run", str(settings)]
