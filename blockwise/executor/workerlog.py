"""Which process each block was given to, and which workers were lost: files beside those of what blocks log."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

GIVEN = ".given"
LOST = "lost-workers.jsonl"


def note_given(folder: Path, stage: str, worker: str, keys: Sequence[int]) -> None:
    """Note that this process is about to begin these blocks; a disk that is full must not end them.

    One line for a batch, in `FOLDER/STAGE/MACHINE-PROCESS.given`. worker: its address, empty if this is none of Dask's.
    """
    _append(
        folder / stage / f"{socket.gethostname()}-{os.getpid()}{GIVEN}",
        {"at": round(time.time(), 3), "worker": worker, "blocks": list(keys)},
    )


def worker_of(folder: Path, stage: str, key: int) -> dict[str, Any] | None:
    """Who was given a block last: `process` (MACHINE-PROCESS), `worker`, `at` (s since 1970); None if nobody knows."""
    # Looked for in the text, since a run of a million blocks has as many numbers here.
    named = re.compile(rf"[\[ ]{key}[,\]]")
    found: dict[str, Any] | None = None
    for path in sorted((folder / stage).glob(f"*{GIVEN}")):
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if named.search(line) and line.endswith("}\n"):
                    row = json.loads(line)
                    if key in row["blocks"] and (found is None or row["at"] >= found["at"]):
                        found = {"process": path.name.removesuffix(GIVEN), "worker": row["worker"], "at": row["at"]}
    return found


def note_lost(folder: Path, worker: str, how: str) -> None:
    """Note that a worker was lost, and the cause."""
    _append(folder / LOST, {"at": round(time.time(), 3), "worker": worker, "how": how})


def lost_workers(folder: Path) -> list[dict[str, Any]]:
    """The workers that all runs into an output have lost, in order: `at` (s since 1970), `worker`, `how`."""
    path = folder / LOST
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def _append(path: Path, row: dict[str, Any]) -> None:
    """Add a line, whole, whoever else adds to the file."""
    line = (json.dumps(row) + "\n").encode()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write(line)
