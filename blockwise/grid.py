"""How a volume is cut into blocks, and what a block is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from funlib.geometry import Roi

Voxels = tuple[int, int, int]
"""A shape or a place in voxels along z, y, x."""

_BITS = 21
_MASK = (1 << _BITS) - 1


@dataclass(frozen=True)
class Block:
    """One piece of work: what it may read and what it must write, in voxels of the volume."""

    stage: str
    key: int
    """Names the block by its absolute position: three block indices of 21 bits."""
    read_roi: Roi
    write_roi: Roi


@dataclass(frozen=True)
class Grid:
    """A volume cut into blocks that are anchored at its first voxel; the last ones may be smaller.

    Example:
        grid = Grid("blur", (250, 512, 512), (64, 128, 128), context_low=(2, 2, 2), context_high=(2, 2, 2))
        print(grid.count, next(grid.blocks()).read_roi)
    """

    stage: str
    volume: Voxels
    """Shape of the whole volume, in voxels."""
    block: Voxels
    """Shape of one block's write region, in voxels."""
    context_low: Voxels = (0, 0, 0)
    """Voxels read below the write region; cut off at the volume's border."""
    context_high: Voxels = (0, 0, 0)

    @cached_property
    def counts(self) -> Voxels:
        """Blocks along each axis."""
        return as_voxels(-(-size // step) for size, step in zip(self.volume, self.block, strict=True))

    @property
    def count(self) -> int:
        """Blocks in all."""
        return int(np.prod(self.counts, dtype=np.int64))

    def keys(self) -> np.ndarray:
        """(counts) int64: the key of every block, at its place in the grid."""
        z, y, x = (axis.astype(np.int64) for axis in np.ogrid[tuple(slice(0, count) for count in self.counts)])
        return pack((z, y, x))

    def keys_by_nearness(self) -> np.ndarray:
        """(n,) int64: the keys of all blocks along a curve whose next 8, 64, 512 .. fill a cube (Morton 1966)."""
        keys = self.keys().ravel()
        place = np.zeros(len(keys), np.int64)
        for bit in range(max(self.counts).bit_length()):
            for axis in range(3):
                place |= (keys >> (_BITS * axis + bit) & 1) << (3 * bit + axis)
        found: np.ndarray = keys[np.argsort(place)]
        return found

    def block_at(self, key: int) -> Block:
        """The block that `key` names."""
        # In plain numbers: operations on regions take longer than handing the block out does.
        begin = [place * step for place, step in zip(unpack(key), self.block, strict=True)]
        end = [min(low + step, size) for low, step, size in zip(begin, self.block, self.volume, strict=True)]
        write = between(begin, end)
        if not any((*self.context_low, *self.context_high)):
            return Block(self.stage, key, write, write)
        low = [max(0, place - more) for place, more in zip(begin, self.context_low, strict=True)]
        tops = zip(end, self.context_high, self.volume, strict=True)
        read = between(low, [min(place + more, size) for place, more, size in tops])
        return Block(self.stage, key, read, write)

    def blocks(self) -> Iterator[Block]:
        """Every block in C order."""
        for key in self.keys().ravel():
            yield self.block_at(int(key))

    def within(self, same: Voxels, pieces: Voxels = (1, 1, 1)) -> Voxels:
        """The box of all blocks that read nothing outside of the box `same`; both begin at the first voxel.

        An axis along which `same` is the whole volume counts as a whole. pieces: what is computed at once, anchored at
        the first voxel too; a block reads what its pieces read.
        """
        axes = zip(self.volume, self.block, self.context_high, same, pieces, strict=True)
        return as_voxels(
            size if end >= size else max(0, (end - high) // piece * piece // step * step)
            for size, step, high, end, piece in axes
        )

    def inside(self, box: Voxels) -> np.ndarray:
        """(counts) bool: which blocks lie in a box of whole blocks that begins at the first voxel."""
        mask = np.zeros(self.counts, bool)
        mask[tuple(slice(0, -(-end // step)) for end, step in zip(box, self.block, strict=True))] = True
        return mask

    def homes(self, numbers: np.ndarray) -> np.ndarray:
        """The key of the block that each fragment's number is from: its voxel, whose index + 1 it is, lies there."""
        index = np.unravel_index((numbers - np.uint64(1)).astype(np.int64), self.volume)
        z, y, x = (at // step for at, step in zip(index, self.block, strict=True))
        return pack((z, y, x))

    def inflation(self) -> float:
        """Voxels read for each voxel written, for an inner block."""
        read = np.array(self.block) + self.context_low + self.context_high
        return float(np.prod(np.minimum(read, self.volume)) / np.prod(np.minimum(self.block, self.volume)))


def pack[Whole: (int, np.ndarray[Any, Any])](index: tuple[Whole, Whole, Whole]) -> Whole:
    """The key of the block at `index` (in blocks along z, y, x), or the keys of several, given as arrays of int64."""
    z, y, x = index
    key: Whole = (z << (2 * _BITS)) | (y << _BITS) | x
    return key


def unpack[Whole: (int, np.ndarray[Any, Any])](key: Whole) -> tuple[Whole, Whole, Whole]:
    """The block index (z, y, x) that `key` names; arrays of several where an array of keys is given."""
    return key >> (2 * _BITS), (key >> _BITS) & _MASK, key & _MASK


def between(begin: Sequence[int], end: Sequence[int]) -> Roi:
    """The region from `begin` up to `end`, in voxels."""
    return Roi(begin, [high - low for low, high in zip(begin, end, strict=True)])


def as_voxels(values: Iterable[int]) -> Voxels:
    """Three integers as a tuple."""
    z, y, x = (int(value) for value in values)
    return z, y, x
