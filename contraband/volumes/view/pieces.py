"""Pieces of arrays as a browser asks for them: anywhere, at full size or coarser, from a pyramid if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import zarr

from blockwise.arrays.info import Info
from blockwise.arrays.ngff import images_of, level_paths
from blockwise.arrays.opening import open_group
from blockwise.arrays.volume import Volume, info, open_array

GROUPS_ABOVE = 3
"""How far above an array the group lies at most that calls it a level of an image."""

Factor = tuple[int, ...]
"""How many voxels along each axis become one."""


class Pieces(Protocol):
    """What is served as one layer."""

    shape: tuple[int, ...]
    """At full size; channels first, if there are any, then z, y, x."""
    dtype: np.dtype[Any]
    coarsest: int
    """How many voxels may become one voxel of a piece."""

    def piece(self, begin: np.ndarray, end: np.ndarray, factor: Factor) -> np.ndarray:
        """The voxels from `begin` to `end`, both counted in voxels that are `factor` times as large."""

    def forget(self) -> None:
        """Read again what is asked for from now on."""


class StoredPieces:
    """Pieces of an array on disk."""

    def __init__(self, volume: Volume, is_image: bool) -> None:
        found = info(volume)
        self.shape = found.shape
        kind = "float32" if found.dtype.kind == "f" else found.dtype.name
        if not is_image and found.dtype.kind in "ifb":
            kind = "uint64"
        self.dtype = np.dtype("uint8" if kind == "bool" else kind)
        self._is_image = is_image
        self._levels: dict[Factor, zarr.Array[Any]] = {(1,) * len(found.shape): open_array(volume)}
        self._levels |= {factor: open_array(level) for factor, level in coarser_levels(volume, found)}
        self.coarsest = 64 * max(int(np.prod(factor)) for factor in self._levels)

    def piece(self, begin: np.ndarray, end: np.ndarray, factor: Factor) -> np.ndarray:
        """The voxels of one piece: means of an image, and of numbers the first of those that become one."""
        level = max((one for one in self._levels if _divides(one, factor)), key=lambda one: int(np.prod(one)))
        rest = tuple(wanted // there for wanted, there in zip(factor, level, strict=True))
        array = self._levels[level]
        found = np.asarray(array[_region(begin, end, rest, array.shape)]).astype(self.dtype, copy=False)
        return _fitted(self._reduced(found, rest), end - begin)

    def forget(self) -> None:
        """Nothing is kept."""

    def _reduced(self, found: np.ndarray, factor: Factor) -> np.ndarray:
        from neuroglancer import downsample

        if max(factor) == 1:
            return found
        reduce = downsample.downsample_with_averaging if self._is_image else downsample.downsample_with_striding
        smaller: np.ndarray = reduce(found, factor)
        return smaller


def coarser_levels(volume: Volume, found: Info) -> Iterator[tuple[Factor, Volume]]:
    """The further levels of the OME-Zarr image that the array is the first level of, with their factors."""
    for folder in volume.path.absolute().parents[:GROUPS_ABOVE]:
        name = volume.path.absolute().relative_to(folder).as_posix()
        for image in images_of(_attributes(folder)):
            paths = level_paths(image)
            if paths[0] == name:
                for path in paths[1:]:
                    level = Volume(path=folder / path)
                    factor = _factor_of(level, found)
                    if factor is not None:
                        yield factor, level
                return


def _attributes(folder: Any) -> dict[str, Any]:
    try:
        return dict(open_group(folder).attrs)
    except Exception:  # no group, or one of a kind that says nothing here
        return {}


def _factor_of(level: Volume, found: Info) -> Factor | None:
    """How much coarser a level is; None if that is no whole number along each axis."""
    if not level.path.is_dir():
        return None
    shape = info(level).shape
    sizes = [round(large / small) for large, small in zip(found.shape, shape, strict=True) if small]
    pairs = list(zip(found.shape, sizes, shape, strict=False))
    if len(sizes) != len(found.shape) or any(small not in (large // by, -(-large // by)) for large, by, small in pairs):
        return None
    return tuple(sizes)


def _divides(one: Factor, other: Factor) -> bool:
    return all(large % small == 0 for small, large in zip(one, other, strict=True))


def _region(begin: np.ndarray, end: np.ndarray, factor: Factor, shape: tuple[int, ...]) -> tuple[slice, ...]:
    spans = zip(begin, end, factor, shape, strict=True)
    return tuple(slice(int(low * by), min(int(high * by), size)) for low, high, by, size in spans)


def _fitted(found: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The voxels; where a pyramid rounds its sizes down, the last are repeated."""
    lacking = [max(0, int(wanted) - size) for wanted, size in zip(shape, found.shape, strict=True)]
    return np.pad(found, [(0, by) for by in lacking], mode="edge") if any(lacking) else found
