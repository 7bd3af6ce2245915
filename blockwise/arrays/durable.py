"""What a power cut must not take away, files flushed to the disk with the folders that name them; and what a killed
writer leaves."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import zarr

from blockwise.files.address import Address

_TORN = re.compile(r"\.[0-9a-f]{32}\.partial$")
"""How zarr ends the name of a file that is being written; it gets its own name when it is whole."""
_CHUNKS = "c"


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
    """Flush files below `folder` that have been replaced or removed, and all folders from there up to it.

    An object is for good once it has been written.
    """
    if isinstance(folder, Address):
        return
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


def remove_torn(folder: Path, in_arrays: bool) -> int:
    """Remove what writers that were killed have left in a zarr hierarchy, and say how many files that were.

    in_arrays: look among the shards too, of which there may be a million. Nobody else may write there who is still
    needed: the write of whoever does fails.
    """
    count = 0
    for place, folders, files in os.walk(folder):
        if not in_arrays and _CHUNKS in folders:
            folders.remove(_CHUNKS)
        for name in files:
            if _TORN.search(name):
                Path(place, name).unlink(missing_ok=True)
                count += 1
    return count
