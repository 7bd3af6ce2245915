"""Commands that are killed in the middle, once the store knows how far they are."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from tests.support.paths import ROOT


def kill_when(
    arguments: list[object],
    condition: Callable[[], bool],
    folder: Path = ROOT,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Start a command and kill -9 it as soon as the condition holds."""
    command = [sys.executable, "-m", "contraband", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def blocks_done(store: Path, stage: str = "") -> int:
    """Blocks that the SQLite store knows as done, of stages whose name begins so."""
    if not store.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            query = "select count(*) from blocks where stage like ? and key >= 0"
            return int(connection.execute(query, (f"{stage}%",)).fetchone()[0])
    except sqlite3.OperationalError:
        return 0
