"""Numbers 1, 2, ... for segments in the order of their names, told layer by layer of blocks: no process holds them all.

begins    the segments that begin in a layer: a segment is named by its first voxel, so a layer knows its own
numbers   how many begin before a layer being known, the number of each, kept for the block that it begins in

A block so asks, for each of its segments, the block that this begins in.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from blockwise.grid import Block, Grid, Voxels, pack, unpack
from blockwise.kernels.tables import relabel
from blockwise.stage import Stage
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.agglomerate.substage import place_of
from blockwise.stages.tables import NUMBER, SEGMENT, begins_of, numbers_of, segments_of
from blockwise.store.base import Store


class ByLayer(Stage):
    """What the substages have in common: a block for each layer of blocks along z."""

    segmenting: str
    """The name of the stage that asks for this."""
    shape: Voxels
    block: Voxels
    """Of that stage."""

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, (self.block[0], *self.shape[1:]))

    def parameters(self) -> dict[str, object]:
        return {}  # all is in the fingerprint of the stage that asks

    def blocks(self) -> Grid:
        """The blocks of that stage."""
        return Grid(self.segmenting, self.shape, self.block)


class ListSegments(ByLayer):
    """List the segments that begin in a layer."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each threshold is remembered on its own."""
        return f"{self.segmenting}/begins"

    def process(self, block: Block, store: Store) -> None:
        layer, found = place_of(block), [np.empty(0, np.uint64)]
        _, across, along = self.blocks().counts
        for y, x in np.ndindex(across, along):
            rows = store.get(segments_of(self.segmenting), pack((layer, y, x)))
            if rows is not None:
                # Its smallest fragment lies where it begins, so there it is listed under its own name.
                found.append(rows["segment"][(rows["segment"] == rows["fragment"]) & (rows["segment"] > 0)])
        named = np.unique(np.concatenate(found))
        Shelf(store).put(begins_of(self.segmenting), layer, named[unpack(self.blocks().homes(named))[0] == layer])


class NumberSegments(ByLayer):
    """Number the segments that begin in a layer."""

    before: tuple[int, ...]
    """How many begin in the layers before each."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each threshold is remembered on its own."""
        return f"{self.segmenting}/numbers"

    def parameters(self) -> dict[str, object]:
        return {"before": self.before}

    def process(self, block: Block, store: Store) -> None:
        layer, grid = place_of(block), self.blocks()
        named = Shelf(store).get(begins_of(self.segmenting), layer)
        rows = np.empty(len(named), SEGMENT)
        rows["fragment"] = named
        rows["segment"] = self.before[layer] + 1 + np.arange(len(named), dtype=np.uint64)
        keys = grid.homes(named)
        for key in np.unique(keys).tolist():
            store.put(numbers_of(self.segmenting), key, rows[keys == key])


def numbering(segmenting: str, grid: Grid, store: Store) -> Iterator[Stage]:
    """The substages that number the segments of a stage, whose blocks know theirs by name already."""
    common = {"segmenting": segmenting, "shape": grid.volume, "block": grid.block}
    yield ListSegments(**common)  # type: ignore[arg-type]
    counts = [_count(segmenting, layer, store) for layer in range(grid.counts[0])]
    before = np.cumsum([0, *counts[:-1]])
    yield NumberSegments(before=tuple(before.tolist()), **common)  # type: ignore[arg-type]


def count_of(segmenting: str, grid: Grid, store: Store) -> int:
    """How many segments there are, once they are listed."""
    return sum(_count(segmenting, layer, store) for layer in range(grid.counts[0]))


def numbered(segments: np.ndarray, grid: Grid, store: Store) -> np.ndarray:
    """The numbers of segments (n,) by their names; 0, background, stays 0. grid: of the stage that numbered them."""
    wanted = np.unique(segments[segments > 0])
    homes = grid.homes(wanted)
    rows = [np.empty(0, SEGMENT)]
    for key in np.unique(homes).tolist():
        known = store.get(numbers_of(grid.stage), key)
        if known is not None:
            rows.append(known[np.isin(known["fragment"], wanted)])
    found = np.sort(np.concatenate(rows))
    if len(found) != len(wanted):
        raise KeyError(f"{len(wanted) - len(found)} segments have no number; use --redo segment")
    return relabel(segments, np.ascontiguousarray(found["fragment"]), np.ascontiguousarray(found["segment"]))


def _count(segmenting: str, layer: int, store: Store) -> int:
    return Shelf(store).nbytes(begins_of(segmenting), layer) // NUMBER.itemsize
