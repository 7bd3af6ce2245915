# mypy: allow-untyped-defs
"""What is known of objects from their voxels, as sums of integers: where they lie, how bright they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blockwise.grid import Voxels
from blockwise.kernels.compiled import compiled
from blockwise.kernels.tables import relabel

EXTENT = np.dtype(
    [
        ("fragment", "<u8"),
        ("voxels", "<u8"),
        ("sum", "<u8", 3),
        ("begin", "<i8", 3),
        ("end", "<i8", 3),
        ("border", "u1"),
    ]
)
"""An object: its voxels, the sums of their places along z, y, x, the box around them, whether one is at the border."""

BRIGHTNESS = np.dtype(
    [("fragment", "<u8"), ("channel", "<u4"), ("voxels", "<u8"), ("sum", "<i8"), ("low", "<u8"), ("high", "<u8")]
)
"""An object in a channel: voxels, the sum of their values, that of the squares as `high` 2^32 + `low`."""

FACES = np.dtype([("u", "<u8"), ("v", "<u8"), ("axis", "u1"), ("faces", "<u8")])
"""Two objects, u < v, and how many pairs of voxels, one after the other along an axis, lie in both."""

FIXED_POINT = 1 << 16
"""Floats are measured in whole multiples of one in so many."""


def extents(ids: np.ndarray, known: np.ndarray, begin: Voxels, volume: Voxels) -> np.ndarray:
    """EXTENT of the objects `known` (sorted, without 0) in a box that begins at `begin` of a volume of that shape."""
    rows = np.zeros(len(known), EXTENT)
    rows["fragment"] = known
    rows["begin"] = volume
    numbers = _columns(rows, ("voxels", "sum", "begin", "end", "border"))
    _measure(_dense(ids, known), np.array(begin), np.array(volume), *numbers)
    for name, column in zip(("voxels", "sum", "begin", "end", "border"), numbers, strict=True):
        rows[name] = column
    return rows


def brightness(ids: np.ndarray, known: np.ndarray, values: np.ndarray, channel: int) -> np.ndarray:
    """BRIGHTNESS of the objects `known` (sorted, without 0). values: int64, below 2^31 in size, like `ids`."""
    rows = np.zeros(len(known), BRIGHTNESS)
    rows["fragment"], rows["channel"] = known, channel
    numbers = _columns(rows, ("voxels", "sum", "low", "high"))
    _add_values(_dense(ids, known), np.ascontiguousarray(values, np.int64), *numbers)
    for name, column in zip(("voxels", "sum", "low", "high"), numbers, strict=True):
        rows[name] = column
    return rows[rows["voxels"] > 0]


def merge_extents(rows: np.ndarray) -> np.ndarray:
    """The rows of one object as one, sorted by object."""
    rows, first = _grouped(rows, ["fragment"])
    merged: np.ndarray = rows[first]
    if len(first):
        for name in ("voxels", "sum"):
            merged[name] = np.add.reduceat(rows[name], first)
        merged["begin"] = np.minimum.reduceat(rows["begin"], first)
        for name in ("end", "border"):
            merged[name] = np.maximum.reduceat(rows[name], first)
    return merged


def merge_sums(rows: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """The rows that are equal in `keys` as one, sorted by these, the other columns added."""
    rows, first = _grouped(rows, keys)
    merged: np.ndarray = rows[first]
    for name in rows.dtype.names or ():
        if name not in keys and len(first):
            merged[name] = np.add.reduceat(rows[name], first)
    return merged


def _grouped(rows: np.ndarray, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The rows sorted by `keys`, and where those of the next begin."""
    rows = rows[np.lexsort([rows[key] for key in reversed(keys)])]
    differ = [rows[key][1:] != rows[key][:-1] for key in keys]
    return rows, np.flatnonzero(np.r_[True, np.logical_or.reduce(differ)][: len(rows)])


def _columns(rows: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    return [np.ascontiguousarray(rows[name]) for name in names]


def _dense(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """1 + the row of each id among those known; 0 for 0."""
    return relabel(ids, known, np.arange(1, len(known) + 1, dtype=np.uint64))


@compiled
def _measure(dense, start, volume, voxels, total, begin, end, border):
    """Add up the voxels of each row; a run of them costs one look at the row."""
    place = np.zeros(3, np.int64)
    for z in range(dense.shape[0]):
        place[0] = start[0] + z
        for y in range(dense.shape[1]):
            place[1] = start[1] + y
            at_side = place[0] == 0 or place[0] == volume[0] - 1 or place[1] == 0 or place[1] == volume[1] - 1
            at_side = at_side and (volume[0] > 1 or place[1] == 0 or place[1] == volume[1] - 1)
            for x in range(dense.shape[2]):
                if dense[z, y, x] == 0:
                    continue
                row = np.int64(dense[z, y, x]) - 1
                place[2] = start[2] + x
                voxels[row] += np.uint64(1)
                for axis in range(3):
                    total[row, axis] += np.uint64(place[axis])
                    begin[row, axis] = min(begin[row, axis], place[axis])
                    end[row, axis] = max(end[row, axis], place[axis] + 1)
                if at_side or place[2] == 0 or place[2] == volume[2] - 1:
                    border[row] = 1


@compiled
def _add_values(dense, values, voxels, total, low, high):
    """Add the values and their squares to the row of each voxel."""
    for z in range(dense.shape[0]):
        for y in range(dense.shape[1]):
            for x in range(dense.shape[2]):
                if dense[z, y, x] == 0:
                    continue
                row = np.int64(dense[z, y, x]) - 1
                value = values[z, y, x]
                square = np.uint64(value * value)
                voxels[row] += np.uint64(1)
                total[row] += value
                low[row] += square & np.uint64(0xFFFFFFFF)
                high[row] += square >> np.uint64(32)
