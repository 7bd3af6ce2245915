"""What an array holds, as one checksum: the attribute `identity` that an import gives it."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from math import prod
from pathlib import Path

import numpy as np
from funlib.geometry import Roi

from blockwise.volume import METADATA, Volume, Voxels, info, read

_SLAB_BYTES = 256 << 20


def content_identity(volume: Volume, shape: Voxels) -> str:
    """The checksum of the voxels from the first one to `shape`, as if the array ended there; reads all of them.

    It knows type, shape and voxels, and nothing of chunks: each section of each channel is summed, then the sums.
    """
    files = [volume.path / name for name in METADATA]
    stamps = tuple(path.stat().st_mtime_ns for path in files if path.is_file())
    return _checksum(volume.path, shape, stamps)


@lru_cache(maxsize=16)
def _checksum(path: Path, shape: Voxels, stamps: tuple[int, ...]) -> str:  # noqa: ARG001 - the key: a run asks twice
    volume = Volume(path=path)
    found = info(volume)
    channels = found.shape[:-3]
    total = sha256(f"{found.dtype.str} {(*channels, *shape)}".encode())
    depth, height, _ = found.unit_of_writing
    layer = prod(channels) * shape[2] * found.dtype.itemsize
    rows = max(1, _SLAB_BYTES // (layer * min(depth, shape[0]) * height)) * height
    for z in range(0, shape[0], depth):
        thick = min(depth, shape[0] - z)
        sections = [sha256() for _ in range(prod(channels) * thick)]
        for y in range(0, shape[1], rows):
            data = read(volume, Roi((z, y, 0), (thick, min(rows, shape[1] - y), shape[2])))
            for section, values in zip(sections, data.reshape(-1, *data.shape[-2:]), strict=True):
                section.update(np.ascontiguousarray(values))
        for number in range(thick):
            for section in sections[number::thick]:
                total.update(section.digest())
    return total.hexdigest()
