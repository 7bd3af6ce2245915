"""Chunks of an array that have no file: they are read as its fill value, whether that is meant or a copy broke off."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from typing import Any

from blockwise.arrays.opening import folder_of
from blockwise.arrays.volume import Volume, open_array
from blockwise.files.address import Address


def missing_chunks(array: Any, region: Sequence[slice] | None = None) -> tuple[int, int]:
    """(chunks without a file, all chunks) of a zarr array in a folder, or of a region; shards, where there are any."""
    folder = folder_of(array)
    unit = array.shards or array.chunks
    spans = region or [slice(0, size) for size in array.shape]
    ranges = [range(span.start // step, -(-span.stop // step)) for span, step in zip(spans, unit, strict=True)]
    there = {os.path.relpath(os.path.join(at, file), folder) for at, _, files in os.walk(folder) for file in files}
    keys = (array.metadata.encode_chunk_key(index) for index in itertools.product(*ranges))
    return sum(os.path.normpath(key) not in there for key in keys), math.prod(map(len, ranges))


def meaning_of_missing(array: Any) -> str:
    """What is read where a chunk has no file, to be read."""
    fill = array.fill_value
    return "0, since the array has no fill value" if fill is None else f"its fill value {fill}"


def told(absent: int, count: int, meaning: str) -> str:
    """The line for the user; absent: how many of `count` chunks have no file."""
    if absent == count:
        todo = "is the copy complete, and are its files named as its header says (dimension_separator)?"
        return f"none of its {count} chunks is on the disk, all is read as {meaning}; {todo}"
    return f"{absent} of {count} chunks are missing on the disk and are read as {meaning}; is the copy complete?"


def told_missing(volume: Volume, most: int) -> str | None:
    """A line for the user if chunks of a volume that others have written are missing; only files are looked for.

    None for what was imported, whose content was complete then, for what is no folder, and beyond `most` chunks.
    """
    if isinstance(volume.path, Address):
        return None
    array = open_array(volume)
    count = math.prod(-(-size // step) for size, step in zip(array.shape, array.shards or array.chunks, strict=True))
    if "identity" in array.attrs or count > most:
        return None
    absent, _ = missing_chunks(array)
    if not absent:
        return None
    return f"{volume.path}: {told(absent, count, meaning_of_missing(array))}"
