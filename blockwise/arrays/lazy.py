"""A volume that looks like an array, and reads only what is asked for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import EllipsisType
from typing import Any

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.info import Info
from blockwise.grid import between

Selection = int | slice | EllipsisType


class LazyVolume:
    """An array of which only what is sliced is read: (z, y, x), or (channel, z, y, x).

    Takes whole numbers, slices and `...` like numpy and gives numpy arrays; `numpy.asarray` reads everything. Reads
    nothing until then, holds nothing afterwards, and may be handed to dask.array, napari and the like.

    Example:
        middle = lazy[lazy.shape[0] // 2]
        everything = numpy.asarray(lazy)
    """

    def __init__(self, described: Info, load: Callable[[Roi], np.ndarray], dtype: np.dtype[Any] | None = None) -> None:
        """load: gives the voxels of a region, with all channels."""
        self.shape = described.shape
        self.dtype = described.dtype if dtype is None else dtype
        self.chunks = described.shards or described.chunks
        """What lies in one file, so is read at once with the least waste."""
        self.voxel_size = described.voxel_size
        """Along z, y, x, in `units`."""
        self.offset = described.offset
        """Place of the first voxel along z, y, x, in `units`."""
        self.units = described.units
        self._load = load

    @property
    def ndim(self) -> int:
        """Axes: 3, or 4 with channels."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Voxels in all, times channels."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        size = ", ".join(f"{step:g} {unit}" for step, unit in zip(self.voxel_size, self.units, strict=True))
        return f"{type(self).__name__}({'x'.join(map(str, self.shape))} {self.dtype}, voxel size {size})"

    def __getitem__(self, selection: Selection | tuple[Selection, ...]) -> np.ndarray:
        """The voxels; raises IndexError for what is outside, and for lists and masks."""
        chosen = [place(one, size) for one, size in zip(self._whole(selection), self.shape, strict=True)]
        if any(isinstance(one, range) and not one for one in chosen):
            return np.empty([len(one) for one in chosen if isinstance(one, range)], self.dtype)
        spans = [(one, one) if isinstance(one, int) else (min(one[0], one[-1]), max(one[0], one[-1])) for one in chosen]
        region = between([low for low, _ in spans[-3:]], [high + 1 for _, high in spans[-3:]])
        inside: list[int | slice] = [0 if isinstance(one, int) else slice(None, None, one.step) for one in chosen]
        if self.ndim == 4:  # all channels are read
            first = chosen[0]
            inside[0] = first if isinstance(first, int) else as_slice(first)
        found: np.ndarray = self._load(region)[tuple(inside)]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Everything, in memory."""
        if copy is False:
            raise ValueError("a lazy volume has no memory to share; leave copy=False away")
        return self[...].astype(dtype or self.dtype, copy=False)

    def _whole(self, selection: Selection | tuple[Selection, ...]) -> list[int | slice]:
        """One number or slice for each axis."""
        given = list(selection) if isinstance(selection, tuple) else [selection]
        dots = [at for at, one in enumerate(given) if one is Ellipsis]
        if len(dots) > 1 or len(given) - len(dots) > self.ndim:
            raise IndexError(f"{self.ndim} axes can be selected, got {selection!r}")
        at = dots[0] if dots else len(given)
        fill = [slice(None)] * (self.ndim - len(given) + len(dots))
        whole = [*given[:at], *fill, *given[at + 1 :]]
        return [one if isinstance(one, slice) else operator.index(one) for one in whole]  # type: ignore[arg-type]


def place(one: int | slice, size: int) -> int | range:
    """Where on an axis of that size; raises IndexError outside."""
    if isinstance(one, slice):
        return range(*one.indices(size))
    if not -size <= one < size:
        raise IndexError(f"index {one} is outside of an axis of {size}")
    return one % size


def as_slice(one: range) -> slice:
    """The slice that selects these places."""
    return slice(one.start, one.stop if one.stop >= 0 else None, one.step)
