"""Volumes, on disk or at an address: zarr arrays with voxel size, offset, units and axis names, stored in shards."""

from __future__ import annotations

import math
import operator
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import zarr
from funlib.geometry import Roi
from pydantic import AfterValidator

from blockwise.arrays.durable import flush, flush_shards
from blockwise.arrays.info import SPATIAL, Info, described
from blockwise.arrays.ngff import only_level, space_of_image
from blockwise.arrays.ome import describe_multiscale
from blockwise.arrays.opening import chunk_of, folder_of, open_group, opened_by_zarr
from blockwise.arrays.space import Space
from blockwise.arrays.synthetic import computed
from blockwise.arrays.webknossos import space_of_dataset
from blockwise.errors import BadInput, looked_for
from blockwise.files.address import Address, Synthetic, last_written, place_of
from blockwise.files.whole import exists
from blockwise.grid import Voxels, as_voxels
from blockwise.settings import Settings

READING = "zarrs.ZarrsCodecPipeline"
"""Decodes with half the CPU time of zarr's own. It is not used to write: it writes files in place, and a torn shard
of fragments could not be made again once they are being replaced by final ones; zarr's own renames whole files."""
ANY_ORDER = "zarr.core.codec_pipeline.BatchedCodecPipeline"
"""zarr's own, for what the other one does not read: addresses, and arrays of version 2 in Fortran order or foreign byte
order."""
METADATA = ("zarr.json", ".zarray", ".zattrs")
Stamps = tuple[object, ...]

_PIPELINE = threading.Lock()
"""The pipeline is chosen by a global setting when an array is opened; another thread may be opening one to write."""


class Volume(Settings):
    """A zarr array (v3, or v2 to read), named by its path on disk, as in `data/vol.zarr/raw`, or by its address.

    To be read, it may also be an OME-Zarr image: its largest level is meant.

    Example:
        raw = Volume(path=Path("data/vol.zarr/raw"))
        print(info(raw).shape)
    """

    path: Annotated[Path, AfterValidator(place_of)]


def open_array(volume: Volume, mode: str = "r") -> zarr.Array[Any]:
    """The zarr array of a volume; raises BadInput if there is none."""
    path = volume.path
    stamps = _stamps(path)
    if not any(stamps) and not exists(path):
        todo = f"make it with `contraband import`, or check the path{looked_for(path)}"
        raise BadInput(path, "no such volume", todo=todo)
    pipeline = zarr.config.get("codec_pipeline.path")
    try:
        return _opened(path, mode, pipeline, stamps)
    except BadInput:
        raise
    except Exception as error:
        kind = "a zarr group" if _is_group(path) else "not a zarr array"
        todo = "name an array in it" if kind == "a zarr group" else "make a volume of it with `contraband import`"
        raise BadInput(path, f"is {kind} ({type(error).__name__})", wanted="the path of one array", todo=todo) from None


@lru_cache(maxsize=64)
def _opened(path: Path, mode: str, pipeline: str, stamps: Stamps) -> zarr.Array[Any]:  # noqa: ARG001 - in the key
    """The array, opened once for as long as its metadata are the same: opening takes longer than a small block."""
    try:
        array = zarr.open_array(opened_by_zarr(path), mode=mode)
    except BadInput:
        raise
    except Exception:
        level = only_level(_group_attributes(path), path) if mode == "r" else None
        if level is None:
            raise
        array = zarr.open_array(opened_by_zarr(path / level), mode=mode)
    if pipeline == READING and (array.order == "F" or not array.dtype.isnative or isinstance(path, Address)):
        with zarr.config.set({"codec_pipeline.path": ANY_ORDER}):
            return zarr.open_array(array.store_path, mode=mode)
    return array


def _stamps(path: Path) -> Stamps:
    """Other ones whenever a file of metadata has been replaced; None for each that is not there."""
    if not isinstance(path, Address):
        return tuple(_stamp(path / name) for name in METADATA)
    of_today = last_written(path / METADATA[0])  # each costs a request
    return (of_today,) if of_today else tuple(last_written(path / name) for name in METADATA[1:])


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def info(volume: Volume) -> Info:
    """The description of a volume; raises BadInput if there is none, or its metadata make no sense.

    Example:
        found = info(Volume(path=Path("data/vol.zarr/raw")))
        print(found.spatial, found.voxel_size, found.units)
    """
    array = open_array(volume)
    folder = folder_of(array)
    return described(array, volume.path, lambda: _said_around(folder, array.ndim, volume.path))


def _said_around(folder: Path, ndim: int, where: Path) -> Space | None:
    """What the OME-Zarr image says of its array: the group it lies in, or one of the two above; else a dataset."""
    for parent in list(folder.absolute().parents)[:3]:
        space = space_of_image(_group_attributes(parent), folder.absolute().relative_to(parent).as_posix(), where)
        if space is not None:
            return space
    return space_of_dataset(folder, ndim)


def _group_attributes(path: Path) -> dict[str, Any]:
    """The attributes of a zarr group; none if it is no group."""
    try:
        return dict(open_group(path, use_consolidated=False).attrs)
    except Exception:
        return {}


def read(volume: Volume, roi: Roi) -> np.ndarray:
    """All channels of the voxels in `roi`, which must lie inside the volume: (z, y, x) or (channel, z, y, x).

    In C order and native bytes, as the kernels want them, however they are stored.

    roi: begin and shape along z, y, x in voxels from the first one. Raises BadInput if there is no such volume.

    Example:
        data = read(raw, block.read_roi)
        corner = read(raw, Roi((0, 0, 0), (8, 64, 64)))
    """
    if isinstance(volume.path, Synthetic):  # just this box, not the chunks around it
        return computed(volume.path.described, as_voxels(roi.begin), as_voxels(roi.end))
    with _PIPELINE, zarr.config.set({"codec_pipeline.path": READING}):
        array = open_array(volume)
    data = np.asarray(array[(..., *roi.to_slices())])
    return np.ascontiguousarray(data, data.dtype.newbyteorder("="))


def write(volume: Volume, roi: Roi, data: np.ndarray) -> None:
    """Overwrite the voxels in `roi`; they are on the disk when this returns, for then they may be marked as done.

    data: (z, y, x) or (channel, z, y, x) with the shape of `roi`. Two processes must not write into one shard: blocks
    of a stage never do, if `create` was given their shape. Raises BadInput if there is no such volume.

    Example:
        write(target, block.write_roi, data)
        write(target, Roi((0, 0, 0), data.shape), data)
    """
    with _PIPELINE:
        array = open_array(volume, "r+")
    array[(..., *roi.to_slices())] = data
    flush_shards(volume.path, array, roi.begin, roi.end)


def create(
    volume: Volume,
    shape: Sequence[int],
    dtype: str,
    block: Voxels,
    *,
    like: Info | None = None,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Make an empty array whose shards are whole blocks; keeps one that is there, and enlarges it to the shape.

    shape: (z, y, x) or (channel, z, y, x). block: voxels of a shard along z, y, x.
    like: whose voxel size, offset and units it gets, also if it is there: these may have been mended. Raises BadInput
    if another array is there already.

    Example:
        found = info(source)
        create(target, found.spatial, "uint8", (64, 128, 128), like=found)
    """
    spatial = as_shard(block, shape[-3:])
    shards = (*shape[:-3], *spatial)
    names = ("channel",) * (len(shape) - 3) + SPATIAL
    scale = like.voxel_size if like else (1,) * 3
    offset = like.offset if like else (0,) * 3
    units = like.units if like else ("nm",) * 3
    if is_there(volume.path):
        _fit(volume, tuple(shape), dtype, spatial)
        _describe_again(volume, {"voxel_size": list(scale), "offset": list(offset), "units": list(units)}, attributes)
        describe_multiscale(volume.path, names, scale, offset, units)
        return
    chunks = (1,) * (len(shape) - 3) + chunk_of(volume.path, spatial)
    group = open_group(volume.path.parent, "a", zarr_format=3)
    group.create_array(
        volume.path.name,
        shape=tuple(shape),
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        fill_value=0,
        compressors=zarr.codecs.ZstdCodec(level=1, checksum=True),
        dimension_names=names,
        attributes={
            "voxel_size": list(scale),
            "offset": list(offset),
            "units": list(units),
            "axis_names": [f"{name}^" if name == "channel" else name for name in names],
            "types": ["channel" if name == "channel" else "space" for name in names],
            **(attributes or {}),
        },
    )
    describe_multiscale(volume.path, names, scale, offset, units)


def is_there(path: Path) -> bool:
    """Whether there is anything: a folder with nothing in it but what a killed creation or a lock left is nothing."""
    if not path.is_dir():
        return path.exists()
    return any(not entry.name.endswith((".partial", ".lock")) for entry in path.iterdir())


def as_shard(block: Voxels, shape: Sequence[int]) -> Voxels:
    """The shard of a block: the block itself, not larger than the volume."""
    z, y, x = (min(step, size) for step, size in zip(block, shape, strict=True))
    return z, y, x


def check_whole_shards(volume: Volume, block: Voxels, key: str = "blocks.shape") -> None:
    """Raise BadInput unless each block writes whole shards: two writers of one file lose data silently."""
    if not is_there(volume.path):
        return
    found = info(volume)
    unit, shape = found.unit_of_writing, found.spatial
    fits = [step % one == 0 or step >= size for step, one, size in zip(block, unit, shape, strict=True)]
    if not all(fits):
        better = [math.ceil(step / one) * one for step, one in zip(block, unit, strict=True)]
        raise BadInput(
            key,
            f"a block is not a whole number of shards of {volume.path}",
            got=list(block),
            wanted=f"multiples of {list(unit)}",
            todo=f"use {better}, or write to another output",
        )


def _fit(volume: Volume, shape: tuple[int, ...], dtype: str, shard: Voxels) -> None:
    """Enlarge an array that was made alike for a smaller volume; raises BadInput if it cannot be the array wanted."""
    found = info(volume)
    smaller = can_grow(found, shape, shard)
    if (found.shape != shape and not smaller) or found.dtype != np.dtype(dtype):
        raise BadInput(
            volume.path,
            "exists already and is different",
            got=f"{found.shape} {found.dtype}",
            wanted=f"{shape} {dtype}",
            todo="choose another output, or remove it",
        )
    check_whole_shards(volume, shard)
    if smaller:
        open_array(volume, "r+").resize(shape)
        flush(volume.path, [volume.path / name for name in METADATA])


def _describe_again(volume: Volume, place: dict[str, Any], attributes: dict[str, Any] | None) -> None:
    """Give an array that is there the attributes that it would be made with."""
    wanted = {**place, **(attributes or {})}
    array = open_array(volume)
    if any(array.attrs.get(key) != value for key, value in wanted.items()):
        open_array(volume, "r+").attrs.update(wanted)
        flush(volume.path, [volume.path / name for name in METADATA])


def can_grow(found: Info, shape: Sequence[int], shard: Voxels) -> bool:
    """Whether an array is smaller than `shape`, along z, y, x only, and stored in such shards."""
    fits = found.shape[:-3] == tuple(shape[:-3]) and found.unit_of_writing == shard
    return fits and found.shape != tuple(shape) and all(map(operator.le, found.shape, shape))


def _is_group(path: Path) -> bool:
    try:
        open_group(path)
    except Exception:
        return False
    return True
