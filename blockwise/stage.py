"""What a stage is: its settings, its blocks, and the work on each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from blockwise.arrays.volume import Volume
from blockwise.files.address import address_in
from blockwise.grid import Block, Grid, Voxels
from blockwise.settings import Settings

if TYPE_CHECKING:
    from blockwise.store.base import Store

NEAR = 64
"""Blocks that share chunks and go to a worker together: a cube of four along each axis, of which few have neighbours
outside."""


class Stage(Settings, ABC):
    """One step of the line from raw to scores.

    A stage is its settings. `prepare` and `finish` run once in the driver, `process` once or more often for
    every block, anywhere, also again after a crash: it overwrites its own region and rows, appends nothing.

    Example (blockwise/README.md has a whole one):
        class Brightest(Stage): name = "brightest"; ...
        run_stages([Brightest(source=raw, target=target)], store, executor)
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

    def notes(self) -> Iterable[str]:
        """What the user should know before it runs, a line each: what of an input is left out."""
        return ()

    def prepare(self, store: Store) -> None:
        """Create the outputs; harmless when they are there."""
        return

    def substages(self, store: Store) -> Iterable[Stage]:
        """Stages run ahead of the blocks of this one, each asked for when the one before it is finished.

        For work that cannot be cut into blocks before the stages ahead have ended. Asked for again whenever blocks of
        this stage are left; the same store gives the same ones. Each is called `<this stage>/<its own word>`, and its
        blocks are marked, tried again and resumed as all are. A stage that follows another has none.
        """
        return ()

    def closing(self, store: Store) -> Iterable[Stage]:
        """Substages run behind the blocks of this stage and before `finish`, whenever that is still to come."""
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
        """What the result depends on apart from inputs and block shape: all settings except places on disk.

        The keys of a field `settings`, the section of the volume's file that a stage was made from, count as its own.
        """
        places = {key for key, value in self if isinstance(value, Volume)}
        own = self.model_dump(mode="json", exclude=places)
        section: dict[str, object] = own.pop("settings", {})
        return {**section, **own}

    def unchanged_box(self, same: Voxels, store: Store) -> Voxels | None:
        """The box of blocks whose results stay as they are when the volume grows at the end of its axes; None: none.

        same: the box in which everything that the stage reads is as it was. Both begin at the first voxel.
        """
        return None

    def blocks_to_redo(self, box: Voxels, store: Store) -> np.ndarray:
        """What is done for that before anything is forgotten; harmless when repeated, and if the volume does not grow.

        Returns (counts) bool: blocks in the box that are redone all the same.
        """
        return np.zeros(self.grid().counts, bool)

    def shares_chunks(self) -> bool:
        """Whether neighbours read the same chunks from addresses, so that near blocks had better go to one worker."""
        grid = self.grid()
        arrays = (value for _, value in self if isinstance(value, Volume))
        return any((*grid.context_low, *grid.context_high)) and any(address_in(array.path) for array in arrays)

    def blocks_together(self) -> int:
        """How many blocks had better go to a worker together, as long as they take no minute."""
        return NEAR if self.shares_chunks() else 1

    def resources(self) -> dict[str, float]:
        """Dask resources a worker must have, such as {"GPU": 1}."""
        return {}


class Overlapping(Stage):
    """A stage in three steps: while a worker computes one block it reads the next, and writes the two before.

    Only `compute` runs in the thread of the worker, always in the same one. `load` has a thread of its own and `save`
    two, and four blocks are held at most. A block is done, as with any stage, when its `save` has returned.
    """

    def blocks_together(self) -> int:
        """Eight at least: the first of a batch is read, and the last one written, while nothing is computed."""
        return max(8, super().blocks_together())

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
