"""Small stages for tests of the engine; importable by workers."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, create, info, read, write
from blockwise.grid import Block, Grid, Voxels
from blockwise.stage import Stage
from blockwise.store.base import Store
from blockwise.store.table import Table
from tests.faults.planned import strike

log = logging.getLogger("tests.toys")

SUMS = Table("sums", np.dtype(np.int64), "smear")
COUNTS = Table("counts", np.dtype(np.int64), "count")
TOTAL = Table("total", np.dtype(np.int64), "count")


class Smear(Stage):
    """Each voxel becomes the sum of itself and its upper neighbours along x, in a block-free way."""

    name: ClassVar[str] = "smear"

    source: Volume
    target: Volume
    block: Voxels = (4, 4, 4)
    factor: int = 1
    faults: Path | None = None
    gpus: float = 0.0

    def resources(self) -> dict[str, float]:
        return {"GPU": self.gpus} if self.gpus else {}

    def grid(self) -> Grid:
        return Grid(self.name, info(self.source).spatial, self.block, context_high=(0, 0, 1))

    def inputs(self) -> tuple[Volume, ...]:
        return (self.source,)

    def outputs(self) -> tuple[Volume, ...]:
        return (self.target,)

    def parameters(self) -> dict[str, object]:
        return {"factor": self.factor}

    def prepare(self, store: Store) -> None:
        found = info(self.source)
        create(self.target, found.shape, "uint32", self.block, like=found)

    def process(self, block: Block, store: Store) -> None:
        if self.faults is not None:
            strike(self.faults, block.key, "before write")
        data = read(self.source, block.read_roi).astype(np.uint32) * self.factor
        data[..., :-1] += data[..., 1:]
        size = block.write_roi.shape
        write(self.target, block.write_roi, data[..., : size[-1]])
        store.put(SUMS, block.key, np.array([int(data.sum())]))
        if self.faults is not None:
            strike(self.faults, block.key, "after write")


class SlowSmear(Smear):
    """The same, and each block takes some time."""

    seconds: float = 0.0

    def parameters(self) -> dict[str, object]:
        return {"factor": self.factor}

    def process(self, block: Block, store: Store) -> None:
        time.sleep(self.seconds)
        super().process(block, store)


class Blur(Stage):
    """Each voxel becomes the sum of itself and its six neighbours; what lies outside of the volume counts 0."""

    name: ClassVar[str] = "blur"
    follows: ClassVar[bool] = True

    source: Volume
    target: Volume
    shape: Voxels
    block: Voxels = (4, 4, 4)

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block, (1, 1, 1), (1, 1, 1))

    def outputs(self) -> tuple[Volume, ...]:
        return (self.target,)

    def prepare(self, store: Store) -> None:
        create(self.target, self.shape, "uint32", self.block, like=info(self.source))

    def process(self, block: Block, store: Store) -> None:
        low = [int(inner - outer) for inner, outer in zip(block.write_roi.begin, block.read_roi.begin, strict=True)]
        high = [int(outer - inner) for inner, outer in zip(block.write_roi.end, block.read_roi.end, strict=True)]
        padded = np.pad(read(self.source, block.read_roi), [(1 - a, 1 - b) for a, b in zip(low, high, strict=True)])
        parts = [np.roll(padded, step, axis) for axis in range(3) for step in (-1, 1)]
        write(self.target, block.write_roi, np.sum([padded, *parts], axis=0, dtype=np.uint32)[1:-1, 1:-1, 1:-1])


class Count(Stage):
    """Counts the voxels above a limit; its result is one table a block, and a sum in the end."""

    name: ClassVar[str] = "count"

    source: Volume
    shape: Voxels
    block: Voxels = (4, 4, 4)
    limit: int = 10

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block)

    def inputs(self) -> tuple[Volume, ...]:
        return (self.source,)

    def process(self, block: Block, store: Store) -> None:
        store.put(COUNTS, block.key, np.array([int((read(self.source, block.write_roi) > self.limit).sum())]))

    def finish(self, store: Store) -> None:
        store.put(TOTAL, 0, np.array([store.rows(COUNTS).sum()]))


class Idle(Stage):
    """Does nothing, in so many blocks, or waits in some of them."""

    name: ClassVar[str] = "idle"

    blocks: int
    seconds: float = 0.0
    faults: Path | None = None
    needs_gpus: float = 0.0

    def grid(self) -> Grid:
        return Grid(self.name, (1, 1, self.blocks), (1, 1, 1))

    def parameters(self) -> dict[str, object]:
        return {}

    def resources(self) -> dict[str, float]:
        return {"GPU": self.needs_gpus} if self.needs_gpus else {}

    def process(self, block: Block, store: Store) -> None:
        if self.faults is not None:
            strike(self.faults, block.key, "before write")
        if self.seconds:
            time.sleep(self.seconds)


class Talks(Idle):
    """Logs its block's key twice; and once more before a fault strikes."""

    def process(self, block: Block, store: Store) -> None:
        log.info("at work on %d", block.key)
        log.debug("too much on %d", block.key)
        super().process(block, store)
        log.warning("strange in %d", block.key)


class Ends(Idle):
    """Its first block ends the process at the first attempt."""

    how: str
    once: Path

    def process(self, block: Block, store: Store) -> None:
        if block.key or self.once.exists():
            return
        self.once.write_text("")
        if self.how == "signal":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exit":
            os._exit(3)
        eaten = [np.ones(10_000_000) for _ in range(5)]
        time.sleep(30)
        assert eaten


def source_volume(path: Path, shape: Voxels = (8, 9, 10)) -> Volume:
    """An array of small random numbers."""
    volume = Volume(path=path)
    create(volume, shape, "uint8", shape)
    random = np.random.default_rng(0)
    write(volume, Roi((0, 0, 0), shape), random.integers(0, 20, shape).astype(np.uint8))
    return volume
