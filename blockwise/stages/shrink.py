"""Write one level of a pyramid: an array as it is, or the level before it made smaller."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from blockwise.arrays.pyramid import OmeVersion, create_level
from blockwise.arrays.volume import Volume, check_whole_shards, info, read, write
from blockwise.files.whole import write_whole
from blockwise.grid import Block, Grid, Voxels, between
from blockwise.kernels.graph.agglomeration import cut
from blockwise.kernels.shrink import shrink_majority, shrink_mean
from blockwise.kernels.tables import distinct, relabel
from blockwise.settings import Settings
from blockwise.stage import Stage
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.store.base import Store


class Renumbering(Settings):
    """Segments called 1 to n, in the order of the numbers they have."""

    dendrogram: Volume
    threshold: float
    file: Path
    """Where the numbers that they have are kept while blocks are renumbered."""

    def keep(self) -> None:
        """Write them there."""
        segments = np.unique(cut(read_dendrogram(self.dendrogram), self.threshold))
        write_whole(self.file, partial(np.save, arr=segments[segments > 0]))


class Shrink(Stage):
    """Each voxel of a level is a function of a window of the level before it, so blocks do not show."""

    needs = ()

    title: str
    """What the stage is called: all levels of all images in one line are stages of their own."""
    origin: Volume
    """The array that the whole pyramid is made from."""
    origin_made: str = ""
    """The fingerprint of the stage that made it; empty for one from outside."""
    source: Volume
    """The level before this one; for the largest the origin."""
    target: Volume
    shape: tuple[int, ...]
    """Of the target, with its channels."""
    dtype: str
    block: Voxels
    step: Voxels
    by: Literal["mean", "majority"]
    ome_version: OmeVersion
    renumbering: Renumbering | None = None
    """What the numbers of the source become; None: what they are."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """The title."""
        return self.title

    def grid(self) -> Grid:
        z, y, x = self.shape[-3:]
        return Grid(self.name, (z, y, x), self.block)

    def inputs(self) -> tuple[Volume, ...]:
        return (self.origin,)

    def outputs(self) -> tuple[Volume, ...]:
        return (self.target,)

    def parameters(self) -> dict[str, object]:
        chosen = super().parameters()
        chosen["renumbering"] = None if self.renumbering is None else self.renumbering.threshold
        return chosen

    def check(self) -> None:
        check_whole_shards(self.target, self.block)

    def prepare(self, store: Store) -> None:
        if self.renumbering is not None:
            self.renumbering.keep()
        create_level(self.target, self.shape, self.dtype, self.block, self.ome_version)

    def process(self, block: Block, store: Store) -> None:
        size = info(self.source).spatial
        begin, end = (_scaled(at, self.step, size) for at in (block.write_roi.begin, block.write_roi.end))
        data = read(self.source, between(begin, end))
        if self.renumbering is not None:
            data = renumbered(data, self.renumbering.file)
        if self.step != (1, 1, 1):
            data = shrink_mean(data, self.step) if self.by == "mean" else shrink_majority(data, self.step)
        write(self.target, block.write_roi, data.astype(self.dtype, copy=False))


def renumbered(segments: np.ndarray, file: Path) -> np.ndarray:
    """Segments called by their place among all, from 1; 0 stays 0. file: all numbers, sorted, as `np.save` has them.

    Only pages of the file that are looked at are read: there may be more segments than memory holds.
    """
    known = distinct(segments)
    everything = np.load(file, mmap_mode="r")
    return relabel(segments, known, np.searchsorted(everything, known).astype(np.uint64) + np.uint64(1))


def _scaled(place: Sequence[int], step: Voxels, size: Voxels) -> list[int]:
    """A place in the level before, not beyond its end."""
    return [min(at * by, end) for at, by, end in zip(place, step, size, strict=True)]
