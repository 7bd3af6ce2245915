"""What is logged while blocks are processed, kept by stage: in files to which every process appends its own lines."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from blockwise.errors import is_outcome
from blockwise.grid import unpack

ENDING = ".jsonl"
_MOST_BYTES = 64 * 2**20
"""Of one process and stage: code that logs in a loop must not fill a disk."""
_MOST_LETTERS = 8000
"""Of one message."""


class BlockLog(logging.Handler):
    """Appends what is logged within a block, INFO and above, to `FOLDER/STAGE/MACHINE-PROCESS.jsonl`.

    Lines of a process that is killed are there nevertheless, up to the last one. A block that logs nothing costs
    nothing but a look, and a process whose blocks log nothing has no file.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._here = threading.local()
        self._folder: Path | None = None
        self._files: dict[str, TextIO | None] = {}
        """By stage; None where no more is kept."""
        self._is_installed = False

    def into(self, folder: Path | None, *, is_worker: bool = False) -> None:
        """Keep lines in this folder from now on; None: nowhere. is_worker: this process does nothing but blocks."""
        if folder == self._folder:
            return
        for file in self._files.values():
            if file is not None:
                file.close()
        self._files = {}
        self._folder = folder
        root = logging.getLogger()
        if folder is not None and not self._is_installed:
            self._is_installed = True
            if is_worker:
                root.setLevel(min(root.level or logging.WARNING, logging.INFO))
            root.addHandler(self)

    @contextmanager
    def of_block(self, stage: str, key: int) -> Iterator[None]:
        """What this thread logs inside belongs to a block."""
        self._here.block = (stage, key)
        try:
            yield
        finally:
            self._here.block = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, if it belongs to a block; a disk that is full must not end the block."""
        # Python prints warnings by itself only as long as nobody handles them.
        last = logging.lastResort
        is_alone = last is not None and record.levelno >= last.level and logging.getLogger().handlers == [self]
        is_kept = self._folder is not None and is_outcome(record)  # who gave the block out says it
        if is_alone and not is_kept:
            last.handle(record)  # type: ignore[union-attr]
        block = getattr(self._here, "block", None)
        if block is None or self._folder is None:
            return
        stage, key = block
        try:
            file = self._file(stage)
            if file is None:
                return
            line = {
                "block": unpack(key),
                "at": round(record.created, 3),
                "level": record.levelname,
                "logger": record.name,
                "text": self.format(record)[-_MOST_LETTERS:],
            }
            file.write(json.dumps(line) + "\n")
            file.flush()
            if file.tell() > _MOST_BYTES:
                self._files[stage] = None
                file.close()
        except (OSError, ValueError):
            self._files[stage] = None

    def _file(self, stage: str) -> TextIO | None:
        if stage not in self._files:
            assert self._folder is not None
            path = self._folder / stage / f"{socket.gethostname()}-{os.getpid()}{ENDING}"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[stage] = path.open("a", encoding="utf-8")
        return self._files[stage]


@lru_cache(maxsize=1)
def block_log() -> BlockLog:
    """The one of this process."""
    return BlockLog()


def read_lines(folder: Path, stage: str, key: int) -> list[dict[str, Any]]:
    """What was logged of one block, in order of time: `at` (s since 1970), `level`, `logger`, `text`, `process`.

    A line that was cut off by the end of its process is left out.
    """
    start = json.dumps({"block": unpack(key)})[:-1] + ", "
    found = []
    for path in sorted((folder / stage).glob(f"*{ENDING}")):
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(start) and line.endswith("}\n"):
                    found.append({**json.loads(line), "process": path.name.removesuffix(ENDING)})
    return sorted(found, key=lambda one: float(one["at"]))
