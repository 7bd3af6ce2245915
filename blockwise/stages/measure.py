"""Measure fragments: where they lie, how bright they are, where they touch; objects of any threshold are their sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import BadInput, WorkFailed
from blockwise.grid import Block, Grid, Voxels, as_voxels
from blockwise.kernels.graph.edges import count_edges
from blockwise.kernels.measures import (
    BRIGHTNESS,
    FACES,
    FIXED_POINT,
    brightness,
    extents,
    merge_extents,
    merge_sums,
)
from blockwise.kernels.tables import distinct, relabel
from blockwise.stage import Stage
from blockwise.stages.affinity import NEAREST
from blockwise.stages.renaming import final_numbers
from blockwise.stages.tables import BRIGHTNESSES, EXTENTS, TOUCHING
from blockwise.store.base import Store
from blockwise.store.table import Table

LARGEST_VALUE = 1 << 31
"""Values are smaller, so that their squares are below 2^62."""
AT_ONCE = 1 << 20
"""Rows that are added up at once."""


class Measure(Stage):
    """Sum up the voxels of each fragment in the block, and count the faces between fragments."""

    name = "objects"
    needs = ("fragments",)

    fragments: Volume
    raw: Volume | None
    """What objects are bright in; None: nothing is said of that."""
    raw_begin: Voxels = (0, 0, 0)
    """Where raw begins in the volume, in voxels; below 0 if before it."""
    shape: Voxels
    block: Voxels

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block, context_low=(1, 1, 1))

    def inputs(self) -> tuple[Volume, ...]:
        return (self.raw,) if self.raw else ()

    def check(self) -> None:
        if self.raw is not None and info(self.raw).dtype.kind not in "buif":
            raise BadInput(
                self.raw.path, "is not made of numbers", got=info(self.raw).dtype, wanted="integers or floats"
            )

    def process(self, block: Block, store: Store) -> None:
        around = read(self.fragments, block.read_roi)
        margin = as_voxels(block.write_roi.begin - block.read_roi.begin)
        ids = np.ascontiguousarray(around[tuple(slice(step, None) for step in margin)])
        known = distinct(ids)
        begin = as_voxels(block.write_roi.begin)
        store.put(EXTENTS, block.key, extents(ids, known, begin, self.shape))
        store.put(TOUCHING, block.key, _faces(around, margin))
        store.put(BRIGHTNESSES, block.key, self._brightness(ids, known, block.write_roi))

    def _brightness(self, ids: np.ndarray, known: np.ndarray, roi: Roi) -> np.ndarray:
        if self.raw is None:
            return np.empty(0, BRIGHTNESS)
        begin = Coordinate(self.raw_begin)
        box = roi.intersect(Roi(begin, info(self.raw).spatial))
        if box.empty:
            return np.empty(0, BRIGHTNESS)
        data = read(self.raw, box - begin)
        inside = np.ascontiguousarray(ids[(box - roi.begin).to_slices()])
        values = as_whole(data.reshape(-1, *data.shape[-3:]), self.raw)
        return np.concatenate([brightness(inside, known, one, channel) for channel, one in enumerate(values)])


def as_whole(values: np.ndarray, where: Volume) -> np.ndarray:
    """Values as int64; floats in multiples of one in `FIXED_POINT`. Raises WorkFailed for what is too large."""
    scaled = np.rint(values.astype(np.float64) * FIXED_POINT) if values.dtype.kind == "f" else values
    low, high = scaled.min(), scaled.max()
    if not (low > -LARGEST_VALUE and high < LARGEST_VALUE):  # also where it is NaN
        raise WorkFailed(f"{where.path}: values are too large to be measured, or none: {low} to {high} in one block")
    return scaled.astype(np.int64)


def _faces(ids: np.ndarray, margin: Voxels) -> np.ndarray:
    """FACES of the voxels of a block with those before them. ids: the block grown by `margin` on its low sides."""
    ones = np.ones((1, *(size - step for size, step in zip(ids.shape, margin, strict=True))), np.uint8)
    found = [np.empty(0, FACES)]
    for axis, offset in enumerate(NEAREST):
        edges = count_edges(ids, ones, [offset], margin)
        rows = np.empty(len(edges), FACES)
        rows["u"], rows["v"], rows["axis"], rows["faces"] = edges["u"], edges["v"], axis, edges["count"]
        found.append(rows)
    return np.concatenate(found)


@dataclass(frozen=True)
class Measures:
    """What is known of all objects at one threshold, each table sorted."""

    extents: np.ndarray
    """EXTENT, a row for each object."""
    brightness: np.ndarray
    """BRIGHTNESS, a row for each object and channel."""
    faces: np.ndarray
    """FACES, a row for each two objects that touch and axis."""


def measures(store: Store, fragment: np.ndarray, segment: np.ndarray) -> Measures:
    """The fragments' measures added up. fragment: all, sorted, (n,) uint64; segment: that of each."""
    names = final_numbers(store)

    def numbers(ids: np.ndarray) -> np.ndarray:
        return relabel(relabel(np.ascontiguousarray(ids), *names), fragment, segment)

    return Measures(
        _added(store, EXTENTS, ("fragment",), numbers),
        _added(store, BRIGHTNESSES, ("fragment", "channel"), numbers),
        _added(store, TOUCHING, ("u", "v", "axis"), numbers),
    )


def _added(store: Store, table: Table, keys: Sequence[str], numbers: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """All rows of a table, those of one object added; a part of them at a time, as there are more than objects."""
    merge = merge_extents if table is EXTENTS else partial(merge_sums, keys=keys)
    waiting = [np.empty(0, table.dtype)]
    for _, rows in store.each(table):
        waiting.append(_renumbered(rows, keys, numbers))
        if sum(map(len, waiting[1:])) > max(AT_ONCE, len(waiting[0])):
            waiting = [merge(np.concatenate(waiting))]
    return merge(np.concatenate(waiting))


def _renumbered(rows: np.ndarray, keys: Sequence[str], numbers: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The rows under the numbers of objects; those of background and faces within one object are left out."""
    rows = rows.copy()
    if keys[0] == "fragment":
        rows["fragment"] = numbers(rows["fragment"])
        objects: np.ndarray = rows[rows["fragment"] > 0]
        return objects
    first, second = numbers(rows["u"]), numbers(rows["v"])
    rows["u"], rows["v"] = np.minimum(first, second), np.maximum(first, second)
    across: np.ndarray = rows[(first != second) & (rows["u"] > 0)]
    return across
