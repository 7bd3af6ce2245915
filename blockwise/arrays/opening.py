"""Where zarr opens what lies at a place: a folder on a disk, or an address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.storage import ObjectStore, StorePath

from blockwise.arrays.synthetic import Computed, store_of
from blockwise.errors import BadInput
from blockwise.files import objects
from blockwise.files.address import Address, Synthetic
from blockwise.files.traffic import meter
from blockwise.grid import Voxels

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


CHUNK = 64
"""Voxels of a chunk along an axis, at most."""
CHUNK_AT_ADDRESSES = 32
"""A block that needs one voxel of its neighbour reads a chunk of it: with 64, blocks of 64 x 128 x 128 would read
fragments six times over where edges are counted, with 32 three times, which is less than they read of affinities."""
GAP_BYTES = 1 << 12
"""Chunks of a shard that are wanted are read in one request if no more lies between them. By itself zarr reads a
megabyte that nobody wants: of shards beside a block, whose nearest chunks are wanted, nearly all."""


class Bucket(ObjectStore):
    """Objects of a bucket as zarr's chunks: each is written in one request, and says in one line why it cannot be.

    A shard that is being written is not there before all of it is; when the request has returned it is for good.
    """

    root = ""
    """The address of the bucket."""

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        found = await self._sent(key, lambda: ObjectStore.get(self, key, prototype, byte_range))
        meter().read(len(found or b""), f"{self.root}/{key}")
        return found

    async def get_ranges(
        self,
        key: str,
        byte_ranges: Sequence[ByteRequest | None],
        *,
        max_gap_bytes: int = GAP_BYTES,
        **more: Any,
    ) -> AsyncIterator[Sequence[tuple[int, Buffer | None]]]:
        gap_bytes = min(max_gap_bytes, GAP_BYTES)
        async for found in ObjectStore.get_ranges(self, key, byte_ranges, max_gap_bytes=gap_bytes, **more):
            yield found

    async def exists(self, key: str) -> bool:
        meter().read()
        return bool(await self._sent(key, lambda: ObjectStore.exists(self, key)))

    async def set(self, key: str, value: Buffer) -> None:
        import obstore

        self._check_writable()
        data = value.as_buffer_like()
        await self._sent(key, lambda: obstore.put_async(self.store, key, data, use_multipart=False))
        meter().wrote(len(value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Nothing: zarr asks only for groups above those that are made, up to the bucket itself.

        Neither are they on a disk, nor may everybody write there who may write an output.
        """

    async def delete(self, key: str) -> None:
        await self._sent(key, lambda: ObjectStore.delete(self, key))
        meter().wrote()

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()
        await asyncio.to_thread(objects.remove, f"{self.root}/{prefix}")

    async def _sent[Answer](self, key: str, request: Callable[[], Awaitable[Answer]]) -> Answer:
        for wait_s in (*objects.WAITS_S, None):
            try:
                return await request()
            except Exception as error:
                if wait_s is None or not objects.was_cut_off(error):
                    raise objects.refusal(error, f"{self.root}/{key}") from None
                await asyncio.sleep(wait_s)
        raise AssertionError("the last request is answered, or refused")

    def with_read_only(self, read_only: bool = False) -> Bucket:
        return _bucket(self.store, self.root, read_only)


def opened_by_zarr(path: Path) -> Path | StorePath:
    """What zarr is given for a place; raises BadInput where zarr's own configuration would have it wait for ever."""
    check_configuration()
    if not isinstance(path, Address):
        return path
    if isinstance(path, Synthetic):
        return store_of(path)
    root = objects.bucket_of(str(path))
    return StorePath(_bucket(objects.bucket(str(path)), root), objects.key_of(str(path)))


@cache
def check_configuration() -> None:
    """Raise BadInput for what others have written into zarr's configuration and nothing can be read or written with."""
    for key, least in (("async.concurrency", 1), ("threading.max_workers", 1), ("json_indent", 0)):
        value = zarr.config.get(key, None)
        if value is not None and (not isinstance(value, int) or value < least):
            variable = f"ZARR_{key.upper().replace('.', '__')}"
            todo = f"see the variable {variable} and ~/.config/zarr"
            raise BadInput(f"zarr's configuration: {key}", "cannot be", got=value, wanted=f"{least} or more", todo=todo)


def chunk_of(path: Path, shard: Voxels) -> tuple[int, ...]:
    """Voxels of a chunk of a new array at a place, along z, y, x: the largest ones that shards are whole numbers of."""
    most = CHUNK_AT_ADDRESSES if isinstance(path, Address) else CHUNK
    return tuple(next(step for step in range(min(most, size), 0, -1) if size % step == 0) for size in shard)


def open_group(path: Path, mode: str = "r", **options: Any) -> zarr.Group:
    """The zarr group at a place."""
    return zarr.open_group(opened_by_zarr(path), mode=mode, **options)


def folder_of(array: zarr.Array[Any]) -> Path:
    """Where an array lies."""
    place = array.store_path
    if isinstance(place.store, Computed):
        return place.store.address
    if isinstance(place.store, Bucket):
        return Address(place.store.root, place.path)
    return Path(str(place.store.root), place.path)


def _bucket(store: Any, root: str, read_only: bool = False) -> Bucket:
    made = Bucket(store, read_only=read_only)
    made.root = root
    return made
