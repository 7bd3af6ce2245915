"""What a power cut must not take away: files that are flushed to the disk, and the folders that name them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import zarr


def flush_shards(folder: Path, array: zarr.Array[Any], begin: Sequence[int], end: Sequence[int]) -> None:
    """Flush the files of a zarr array that hold the voxels from `begin` to `end` (the last axes; all of the others).

    A shard of nothing but zeros has no file; then only its folder is flushed.
    """
    unit = array.shards or array.chunks
    first = (0,) * (array.ndim - len(begin)) + tuple(begin)
    last = (*array.shape[: array.ndim - len(end)], *end)
    ranges = [range(low // step, -(-high // step)) for low, high, step in zip(first, last, unit, strict=True)]
    flush(folder, (folder / array.metadata.encode_chunk_key(index) for index in itertools.product(*ranges)))


def flush(folder: Path, files: Iterable[Path]) -> None:
    """Flush files below `folder` that have been replaced or removed, and all folders from there up to it."""
    folders: set[Path] = set()
    for path in files:
        _flush_one(path)
        folders.update(parent for parent in path.parents if parent.is_relative_to(folder))
    for parent in sorted(folders, reverse=True):
        _flush_one(parent)


def _flush_one(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
