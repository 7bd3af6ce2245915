"""Pyramids: which levels an image has, and the arrays that they are stored in, as OME-Zarr 0.4 and 0.5 want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import zarr

from blockwise.arrays.info import SPATIAL
from blockwise.arrays.volume import Volume, info, is_there
from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels

CHUNK = 64
"""Voxels of a chunk along each axis; the smallest level fits into one."""

OmeVersion = Literal["0.4", "0.5"]


@dataclass(frozen=True)
class Level:
    """One level of a pyramid."""

    shape: Voxels
    factor: Voxels
    """Voxels of the largest level that one of its voxels covers."""
    step: Voxels
    """Voxels of the level before it, the same for the largest."""


def plan_levels(shape: Voxels, voxel_size: Sequence[float]) -> list[Level]:
    """The levels of an image: axes are halved, those of long voxels only once the others have caught up."""
    found = [Level(shape, (1, 1, 1), (1, 1, 1))]
    while max(found[-1].shape) > CHUNK:
        last = found[-1]
        sizes = [size * factor for size, factor in zip(voxel_size, last.factor, strict=True)]
        finest = min(size for size, length in zip(sizes, last.shape, strict=True) if length > 1)
        axes = zip(sizes, last.shape, strict=True)
        step = as_voxels(2 if length > 1 and size < 2 * finest else 1 for size, length in axes)
        smaller = as_voxels(-(-length // by) for length, by in zip(last.shape, step, strict=True))
        factor = as_voxels(one * by for one, by in zip(last.factor, step, strict=True))
        found.append(Level(smaller, factor, step))
    return found


def pyramid_chunks(shape: Voxels) -> Voxels:
    """Voxels of a chunk of a level."""
    return as_voxels(min(CHUNK, size) for size in shape)


def pyramid_block(shape: Voxels, block: Voxels) -> Voxels:
    """The blocks in which a level is written: about `block`, in whole chunks."""
    axes = zip(shape, block, pyramid_chunks(shape), strict=True)
    return as_voxels(-(-min(size, step) // chunk) * chunk for size, step, chunk in axes)


def create_level(volume: Volume, shape: Sequence[int], dtype: str, block: Voxels, version: OmeVersion) -> None:
    """Make an empty array for a level, which another program reads as one of that version; keeps one that is there.

    shape: (z, y, x) or (channel, z, y, x). block: from `pyramid_block`. Raises BadInput if another array is there.
    """
    if is_there(volume.path):
        found = info(volume)
        if found.shape != tuple(shape) or found.dtype != dtype:
            got = f"{found.shape} {found.dtype}"
            raise BadInput(volume.path, "exists already and is different", got=got, wanted=f"{tuple(shape)} {dtype}")
        return
    leading = tuple(shape[:-3])
    chunks = (1,) * len(leading) + pyramid_chunks(as_voxels(shape[-3:]))
    volume.path.parent.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        zarr.create_array(
            volume.path,
            shape=tuple(shape),
            dtype=dtype,
            chunks=chunks,
            zarr_format=2,
            fill_value=0,
            chunk_key_encoding={"name": "v2", "separator": "/"},
            compressors={"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 1},
        )
        return
    zarr.create_array(
        volume.path,
        shape=tuple(shape),
        dtype=dtype,
        chunks=chunks,
        shards=(*leading, *block),
        fill_value=0,
        compressors=zarr.codecs.ZstdCodec(level=1, checksum=True),
        dimension_names=[*("c",) * len(leading), *SPATIAL],
    )
