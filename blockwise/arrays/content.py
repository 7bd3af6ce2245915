"""What an array holds: as one checksum, the attribute `identity` that an import gives it, and its largest number.

What tells without reading a voxel whether it may have changed: `identity`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.volume import METADATA, Volume, info, read
from blockwise.files.address import last_written
from blockwise.grid import Voxels, as_voxels, between

SLAB_BYTES = 256 << 20


def content_identity(volume: Volume, shape: Voxels) -> str:
    """The checksum of the voxels from the first one to `shape`, as if the array ended there; reads all of them."""
    stamps = tuple(last_written(volume.path / name) for name in METADATA)
    return _checksum(volume.path, shape, stamps)


@lru_cache(maxsize=16)
def _checksum(path: Path, shape: Voxels, stamps: tuple[object, ...]) -> str:  # noqa: ARG001 - the key: a run asks twice
    volume = Volume(path=path)
    found = info(volume)
    return checksum(
        found.dtype,
        (*found.shape[:-3], *shape),
        found.unit_of_writing[:2],
        found.dtype.itemsize,
        lambda begin, end: read(volume, between(begin, end)),
    )


def identity(volume: Volume) -> str:
    """A digest of a zarr array's metadata, with its attribute `identity`, else the time or etag they were written with.

    The voxels themselves are not read; `missing` if there is no array.
    """
    described: list[Any] = list(metadata(volume))
    if not described:
        return "missing"
    named = any("identity" in (one.get("attributes") or one) for one in described)
    if not named:
        described += [last_written(path) for path in _files(volume)]
    return digest(described)


def metadata(volume: Volume) -> list[dict[str, Any]]:
    """What the files that describe a zarr array say; nothing if there is none."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in _files(volume)]


def _files(volume: Volume) -> list[Path]:
    return [volume.path / name for name in METADATA if (volume.path / name).is_file()]


def digest(data: object) -> str:
    """sha256 of plain data, whatever the order of keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def largest_number(volume: Volume, enough: int) -> int:
    """The largest number of an array of integers, or the first found above `enough`, where reading ends."""
    stamps = tuple(last_written(volume.path / name) for name in METADATA)
    return _largest(volume.path, enough, stamps)


@lru_cache(maxsize=16)
def _largest(path: Path, enough: int, stamps: tuple[object, ...]) -> int:  # noqa: ARG001 - the key, as above
    volume = Volume(path=path)
    found = info(volume)
    largest = 0
    for begin in product(*map(range, (0, 0, 0), found.spatial, found.unit_of_writing)):
        axes = zip(begin, found.unit_of_writing, found.spatial, strict=True)
        end = as_voxels(min(low + step, size) for low, step, size in axes)
        largest = max(largest, int(read(volume, between(as_voxels(begin), end)).max()))
        if largest > enough:
            break
    return largest


def checksum(
    dtype: np.dtype,
    shape: Sequence[int],
    unit: Sequence[int],
    itemsize: int,
    slab: Callable[[Voxels, Voxels], np.ndarray],
) -> str:
    """The checksum of an array ([channel,] z, y, x), which is asked for slab by slab: (begin, end) to voxels.

    It knows type, shape and voxels, and nothing of chunks: each section of each channel is summed, then the sums.
    Slabs are whole units of writing along z and y, and some 256 MB with `itemsize` bytes a voxel.
    """
    *channels, size_z, size_y, size_x = shape
    depth, height = unit
    layer = prod(channels) * size_x * itemsize
    rows = max(1, SLAB_BYTES // (layer * min(depth, size_z) * height)) * height
    total = sha256(f"{dtype.str} {tuple(shape)}".encode())
    for z in range(0, size_z, depth):
        end_z = min(z + depth, size_z)
        sections = [sha256() for _ in range(prod(channels) * (end_z - z))]
        for y in range(0, size_y, rows):
            data = slab((z, y, 0), (end_z, min(y + rows, size_y), size_x))
            for section, values in zip(sections, data.reshape(-1, *data.shape[-2:]), strict=True):
                section.update(np.ascontiguousarray(values))
        # Section by section, channels within: the order must not depend on the depth of a slab.
        for number in range(end_z - z):
            for section in sections[number :: end_z - z]:
                total.update(section.digest())
    return total.hexdigest()
