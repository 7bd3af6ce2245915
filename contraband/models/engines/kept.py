"""Converted networks kept in a folder: each made once, by whichever process needs it first."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from blockwise.errors import BadInput
from blockwise.files.locks import only_one
from blockwise.files.whole import PARTIAL

WAITED_S = 600.0
"""A process that another one keeps waiting for longer says so and gives up: a conversion takes seconds."""
_ASKED_S = 0.1


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """The folder at `path`, whole, made if it is not there; other processes that want it wait.

    make: writes files into the empty folder it is given. One that was killed leaves nothing that is taken for whole.
    Raises BadInput if another process holds it for too long.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + WAITED_S
    while not path.is_dir():
        holds = False
        try:
            with only_one(path.with_name(f".{path.name}.lock"), path, "is being made by another process"):
                holds = True
                if not path.is_dir():
                    _make(path, make)
        except BadInput:
            if holds or time.monotonic() > end:
                raise
            time.sleep(_ASKED_S)
    return path


def _make(path: Path, make: Callable[[Path], None]) -> None:
    partial = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)  # of one that was killed: the lock is ours
    partial.mkdir()
    make(partial)
    for file in (*partial.iterdir(), partial):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    os.rename(partial, path)
