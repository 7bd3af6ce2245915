"""Files and folders: whole or not there, made only where they can be."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from blockwise.errors import BadInput

PARTIAL = ".partial"
"""How the name of a file ends that is being written."""
ROOM = 80
"""Characters of the longest path within an output: arrays, shards, and the names of files being written."""


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is either complete or not there, also after a loss of power; makes its folder.

    What the system refuses while it is written names the file: a full disk is known by its number only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json(path: Path, data: object) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


@contextmanager
def staging(target: Path, prefix: str) -> Iterator[Path]:
    """A hidden folder on the disk of the target, gone afterwards whatever happens."""
    nearest = next(parent for parent in target.absolute().parents if parent.exists())
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=nearest))
    except OSError as error:
        raise BadInput(target, f"{nearest} cannot be written ({error.strerror})") from None
    try:
        yield folder
    except BaseException:
        _remove_while_written(folder)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _remove_while_written(folder: Path) -> None:
    """Remove a folder into which threads of a library may still write, that make it again: until it stays away."""
    absent = 0
    for _ in range(200):
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            absent = 0
        elif (absent := absent + 1) > 5:
            return
        time.sleep(0.03)


def check_folder(path: Path, key: str) -> None:
    """Raise BadInput unless a file or folder can be made at `path`, with all folders above it."""
    whole = path.absolute()
    nearest = next(parent for parent in whole.parents if exists(parent))
    if not nearest.is_dir():
        raise BadInput(path, f"{key} cannot be made", got=f"{nearest} is a file", wanted="a folder")
    most = os.pathconf(nearest, "PC_NAME_MAX")
    long = [name for name in whole.parts if len(os.fsencode(name)) > most - len(PARTIAL)]
    if long or len(os.fsencode(whole)) + ROOM > os.pathconf(nearest, "PC_PATH_MAX"):
        raise BadInput(f"{key}: {path.name[:40]}...", "is too long a name for the file system", todo="shorten it")
    try:
        # Permissions alone do not tell: the disk may be full or read-only, and root may do what the system refuses.
        os.rmdir(tempfile.mkdtemp(prefix=".writable-", dir=path if path.is_dir() else nearest))
    except OSError as error:
        raise BadInput(path, f"{key} cannot be written ({error.strerror})", todo="choose another place") from None


def exists(path: Path) -> bool:
    """Whether there is anything; no for a name that no file can have."""
    try:
        return path.exists()
    except OSError:
        return False
