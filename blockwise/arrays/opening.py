"""Where zarr opens what lies at a place: a folder on a disk, or an address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import ObjectStore, StorePath

from blockwise.arrays.synthetic import Computed, store_of
from blockwise.errors import BadInput
from blockwise.files import objects
from blockwise.files.address import Address, Synthetic
from blockwise.files.recent import ByteSpan, recent
from blockwise.files.traffic import is_chunk, meter
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
        address, span = f"{self.root}/{key}", _span(byte_range)
        if not is_chunk(address):
            return await self._asked(key, prototype, byte_range)
        known = recent().get(address, span)
        if known is not None:
            return prototype.buffer.from_bytes(known)
        pieces = recent().pieces(address) if byte_range is None else []
        found = await (self._rest(key, prototype, pieces) if pieces else self._asked(key, prototype, byte_range))
        if found is not None and not isinstance(byte_range, RangeByteRequest):  # those are kept one by one
            recent().put(address, span, found.to_bytes())
        return found

    async def get_ranges(
        self,
        key: str,
        byte_ranges: Sequence[ByteRequest | None],
        *,
        max_gap_bytes: int = GAP_BYTES,
        **more: Any,
    ) -> AsyncIterator[Sequence[tuple[int, Buffer | None]]]:
        address, made = f"{self.root}/{key}", more["prototype"].buffer.from_bytes
        known = {place: recent().get(address, _span(wanted)) for place, wanted in enumerate(byte_ranges)}
        yield [(place, made(data)) for place, data in known.items() if data is not None]
        left = [place for place, data in known.items() if data is None]
        wanted, gap_bytes = [byte_ranges[place] for place in left], min(max_gap_bytes, GAP_BYTES)
        async for some in ObjectStore.get_ranges(self, key, wanted, max_gap_bytes=gap_bytes, **more):
            found = [(left[place], data) for place, data in some]
            for place, data in found:
                if data is not None:
                    recent().put(address, _span(byte_ranges[place]), data.to_bytes())
            yield found

    async def exists(self, key: str) -> bool:
        meter().read()
        return bool(await self._sent(key, lambda: ObjectStore.exists(self, key)))

    async def set(self, key: str, value: Buffer) -> None:
        import obstore

        self._check_writable()
        data = value.as_buffer_like()
        await self._sent(key, lambda: obstore.put_async(self.store, key, data, use_multipart=False))
        recent().drop(f"{self.root}/{key}")
        meter().wrote(len(value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Nothing: zarr asks only for groups above those that are made, up to the bucket itself.

        Neither are they on a disk, nor may everybody write there who may write an output.
        """

    async def delete(self, key: str) -> None:
        await self._sent(key, lambda: ObjectStore.delete(self, key))
        recent().drop(f"{self.root}/{key}")
        meter().wrote()

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()
        await asyncio.to_thread(objects.remove, f"{self.root}/{prefix}")

    async def _asked(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None) -> Buffer | None:
        found = await self._sent(key, lambda: ObjectStore.get(self, key, prototype, byte_range))
        meter().read(len(found or b""), f"{self.root}/{key}")
        return found

    async def _rest(self, key: str, prototype: BufferPrototype, pieces: list[tuple[int, bytes]]) -> Buffer | None:
        """The whole object, of which these pieces are known: what lies between and behind them is asked for."""
        ends = [0, *(begin + len(data) for begin, data in pieces)]
        gaps = [(end, begin) for end, (begin, _) in zip(ends, pieces, strict=False) if end < begin]
        # From the last byte that is known on: a range that begins behind the end would be refused.
        wanted = [*(RangeByteRequest(*gap) for gap in gaps), OffsetByteRequest(ends[-1] - 1)]
        found = await asyncio.gather(*(self._asked(key, prototype, one) for one in wanted))
        if any(data is None for data in found):
            return None
        *between, behind = (data.to_bytes() for data in found if data is not None)
        begun = [*pieces, *zip((begin for begin, _ in gaps), between, strict=True)]
        return prototype.buffer.from_bytes(b"".join([*(data for _, data in sorted(begun)), behind[1:]]))

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


def _span(wanted: ByteRequest | None) -> ByteSpan:
    """What zarr asks for, as begin and end."""
    if isinstance(wanted, RangeByteRequest):
        return wanted.start, wanted.end
    if isinstance(wanted, SuffixByteRequest):
        return -wanted.suffix, None
    return (0 if wanted is None else wanted.offset), None


def _bucket(store: Any, root: str, read_only: bool = False) -> Bucket:
    made = Bucket(store, read_only=read_only)
    made.root = root
    return made
