"""A server that speaks MongoDB's protocol, in a process of its own, for tests of the store."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EXTERNAL = "CONTRABAND_MONGO_URL"
"""Names a server to use instead, such as mongodb://127.0.0.1:27017; each test takes a database of its own there."""


class MongoServer:
    """A server with durable storage in a folder, which can be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        """options: of the command that starts it."""
        self.folder = folder
        self.options = options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = Path(sys.executable).with_name("secantusd-py")
        if not program.exists():
            pytest.skip(f"needs SecantusDB (a development dependency), or a MongoDB server in {EXTERNAL}")
        command = [
            str(program),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--storage-path",
            str(self.folder / "db"),
            "--cache-size",
            "64M",
            "--log-level",
            "ERROR",
            *self.options,
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        wait_for_port(self.port, self.process)

    def kill(self) -> None:
        """End it as a power cut would end the process: no chance to write anything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def mongo_server(folder: Path) -> Iterator[str]:
    """The address of a server: the one in CONTRABAND_MONGO_URL, or one that lives as long as the context."""
    if EXTERNAL in os.environ:
        yield os.environ[EXTERNAL].rstrip("/")
        return
    server = MongoServer(folder)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def fresh_database(address: str) -> str:
    """The URL of a database that nobody uses."""
    return f"{address}/test_{uuid.uuid4().hex[:12]}"


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], timeout_s: float = 30) -> None:
    """Return as soon as somebody listens; fails if the process ends or the time is over."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended by itself"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"no server on port {port} within {timeout_s} s")
