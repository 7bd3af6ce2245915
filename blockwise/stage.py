"""What a stage is, and how a volume is cut into its blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, Voxels
from blockwise.settings import Settings

if TYPE_CHECKING:
    from blockwise.store.base import Store

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
    """A volume cut into blocks that are anchored at its first voxel; the last ones may be smaller."""

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
        z, y, x = np.ogrid[tuple(slice(0, count) for count in self.counts)]
        packed: np.ndarray = (z.astype(np.int64) << (2 * _BITS)) | (y.astype(np.int64) << _BITS) | x
        return packed

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

    def inflation(self) -> float:
        """Voxels read for each voxel written, for an inner block."""
        read = np.array(self.block) + self.context_low + self.context_high
        return float(np.prod(np.minimum(read, self.volume)) / np.prod(np.minimum(self.block, self.volume)))


def pack(index: Voxels) -> int:
    """The key of the block at `index` (in blocks along z, y, x)."""
    z, y, x = index
    return (z << (2 * _BITS)) | (y << _BITS) | x


def unpack(key: int) -> Voxels:
    """The block index (z, y, x) that `key` names."""
    return key >> (2 * _BITS), (key >> _BITS) & _MASK, key & _MASK


def between(begin: Sequence[int], end: Sequence[int]) -> Roi:
    """The region from `begin` up to `end`, in voxels."""
    return Roi(begin, [high - low for low, high in zip(begin, end, strict=True)])


def as_voxels(values: Iterable[int]) -> Voxels:
    """Three integers as a tuple."""
    z, y, x = (int(value) for value in values)
    return z, y, x


class Stage(Settings, ABC):
    """One step of the line from raw to scores.

    A stage is its settings. `prepare` and `finish` run once in the driver, `process` once or more often for
    every block, anywhere, also again after a crash: it overwrites its own region and rows, appends nothing.
    """

    name: ClassVar[str]
    """The word for this stage everywhere: module, command, settings section, store, dashboard row."""
    version: ClassVar[int] = 1
    """Raised whenever the code gives other results, so that finished blocks become stale."""
    needs: ClassVar[tuple[str, ...] | None] = None
    """Words of the stages that the result depends on; None stands for all before it in the line."""
    follows: ClassVar[bool] = False
    """Whether a block needs no more of the stage before than its blocks under the read region, so that both stages can
    run in one chain, and has the same blocks."""

    @abstractmethod
    def grid(self) -> Grid:
        """The blocks of this stage."""

    @abstractmethod
    def process(self, block: Block, store: Store) -> None:
        """Read, compute, write one block."""

    def check(self) -> None:
        """Raise BadInput if the stage cannot work; write nothing. Earlier outputs may be missing."""
        return

    def prepare(self, store: Store) -> None:
        """Create the outputs; harmless when they are there."""
        return

    def parts(self, store: Store) -> Iterable[Stage]:
        """Stages run ahead of the blocks of this one, each asked for when the one before it is finished.

        For work that cannot be cut into blocks before the stages ahead have ended. Asked for anew whenever blocks of
        this stage are left; the same store gives the same parts. Each is called `<this stage>/<its own word>`, and its
        blocks are marked, tried again and resumed as all are. A stage that follows another has none.
        """
        return ()

    def finish(self, store: Store) -> None:
        """What is done once after the last block; harmless when repeated."""
        return

    def inputs(self) -> tuple[Volume, ...]:
        """External arrays whose content the result depends on."""
        return ()

    def outputs(self) -> tuple[Volume, ...]:
        """Arrays that blocks of this stage write."""
        return ()

    def parameters(self) -> dict[str, object]:
        """What the result depends on beside inputs and block shape: all settings except places on disk."""
        places = {key for key, value in self if isinstance(value, Volume)}
        chosen: dict[str, object] = self.model_dump(mode="json", exclude=places)
        return chosen

    def outlasting(self, same: Voxels, store: Store) -> Voxels | None:
        """The box of blocks whose results stay as they are when the volume grows at the end of its axes; None: none.

        same: the box in which everything that the stage reads is as it was. Both begin at the first voxel.
        """
        return None

    def carry(self, box: Voxels, store: Store) -> np.ndarray:
        """What is done for that before anything is forgotten; harmless when repeated, and if the volume does not grow.

        Returns (counts) bool: blocks in the box that are made anew all the same.
        """
        return np.zeros(self.grid().counts, bool)

    def resources(self) -> dict[str, float]:
        """Dask resources a worker must have, such as {"GPU": 1}."""
        return {}


class Overlapping(Stage):
    """A stage in three steps: while a worker computes one block it reads the next, and writes the one before.

    Only `compute` runs in the thread of the worker, always in the same one. `load` and `save` each have a thread of
    their own, and three blocks are held at most. A block is done, as with any stage, when its `save` has returned.
    """

    @abstractmethod
    def load(self, block: Block) -> Any:
        """What `compute` needs of the block, read into memory."""

    @abstractmethod
    def compute(self, block: Block, loaded: Any) -> Any:
        """What `save` is given; reads and writes no file."""

    @abstractmethod
    def save(self, block: Block, computed: Any) -> None:
        """Write the block; it is on the disk when this returns."""

    def process(self, block: Block, store: Store) -> None:
        """The three steps, one after the other."""
        self.save(block, self.compute(block, self.load(block)))
