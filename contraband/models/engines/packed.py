"""Network files inside of zip archives, named as if the archive were a folder: `model.zip/weights.onnx`."""

from __future__ import annotations

import zipfile
from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether there is such a file, on the disk or in an archive."""
    if path.is_file():
        return True
    archive = archive_of(path)
    if archive is None:
        return False
    with zipfile.ZipFile(archive) as opened:
        return _member(archive, path) in opened.namelist()


def file_or_bytes(path: Path) -> Path | bytes:
    """The path of a file on the disk, or what a file in an archive holds."""
    archive = archive_of(path)
    if archive is None:
        return path
    with zipfile.ZipFile(archive) as opened:
        return opened.read(_member(archive, path))


def archive_of(path: Path) -> Path | None:
    """The archive that a path leads into; None for a file on the disk."""
    archives = (parent for parent in path.parents if parent.suffix == ".zip" and parent.is_file())
    return next(archives, None)


def _member(archive: Path, path: Path) -> str:
    return path.relative_to(archive).as_posix()
