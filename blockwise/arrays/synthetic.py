"""Volumes that are computed when they are read, in boxes or as zarr's chunks; nothing of them is stored."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, NoReturn

import numpy as np
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore, StorePath

from blockwise.errors import BadInput
from blockwise.files.address import Synthetic
from blockwise.files.synthetic import METADATA, Described
from blockwise.grid import Voxels, as_voxels


def computed(described: Described, begin: Voxels, end: Voxels) -> np.ndarray:
    """The voxels from `begin` to `end`, the same whatever box they are part of: (3, z, y, x) uint8 of affinities,
    (z, y, x) uint64 of labels. Nobody asks what lies beyond the volume."""
    from blockwise.kernels.synthetic.tissue import made_up_affinities, made_up_labels  # numba, where it is needed

    make = made_up_affinities if described.made == "affinities" else made_up_labels
    return make(described.seed, begin, end)


class _Objects(MutableMapping[str, Buffer]):
    """The description and chunks of a synthetic array, by their keys; none can be replaced."""

    def __init__(self, address: Synthetic) -> None:
        self.address = address
        self.described = address.described

    def __getitem__(self, key: str) -> Buffer:
        if key not in self:
            raise KeyError(key)
        data = self.described.metadata() if key == METADATA else self._chunk(key)
        return default_buffer_prototype().buffer.from_bytes(data)

    def __setitem__(self, key: str, value: Buffer) -> NoReturn:
        raise BadInput(self.address, "is computed when it is read: nothing can be written there", wanted="a path")

    def __delitem__(self, key: str) -> NoReturn:
        self[key] = self[METADATA]

    def __contains__(self, key: object) -> bool:
        return key == METADATA or str(key).startswith("c/")

    def __iter__(self) -> Iterator[str]:
        yield METADATA  # who wants chunks knows what they are called; there may be very many

    def __len__(self) -> int:
        return 1

    def _chunk(self, key: str) -> bytes:
        """Whole, also where the volume ends within it."""
        sides = self.described.chunk
        begin = as_voxels(int(at) * side for at, side in zip(key.split("/")[-3:], sides, strict=True))
        end = as_voxels(low + side for low, side in zip(begin, sides, strict=True))
        return computed(self.described, begin, end).tobytes()


class Computed(MemoryStore):
    """A synthetic array as zarr sees it."""

    def __init__(self, store_dict: Any, *, read_only: bool = False) -> None:
        """store_dict: its objects, named as zarr names them."""
        super().__init__(store_dict, read_only=read_only)
        self.address: Synthetic = store_dict.address


def store_of(address: Synthetic) -> StorePath:
    """What zarr opens."""
    return StorePath(Computed(_Objects(address)))
