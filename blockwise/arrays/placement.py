"""Where an array lies in the volume that is segmented, by the voxel sizes, offsets and units of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockwise.arrays.compare import OFF_GRID, TOLERANCE, as_text, size_in, voxels_between
from blockwise.arrays.info import SPATIAL, Info
from blockwise.arrays.units import factor as unit_factor
from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from blockwise.settings import Settings

MOST_OFF_GRID = 0.1
"""Of a voxel: what a place may lie beside a whole number of voxels however far it is from the origin."""
TODO = "import it with the voxel size, offset and units of the volume, or correct these attributes of one of them"


class Placement(Settings):
    """Where an array lies in the volume that is segmented, in voxels of that volume."""

    begin: Voxels = (0, 0, 0)
    """Where its first voxel begins; below 0 if before the volume."""
    factor: Voxels = (1, 1, 1)
    """How many voxels of the volume one of its voxels covers along z, y, x."""

    def end(self, shape: Voxels) -> Voxels:
        """Where an array of this shape ends."""
        axes = zip(self.begin, shape, self.factor, strict=True)
        return as_voxels(begin + size * step for begin, size, step in axes)


def place_in(volume: Volume, space: Volume, *, coarser: bool = False) -> Placement:
    """Where `volume` lies in `space`, the volume that is segmented; metadata only.

    coarser: its voxels may be larger by whole factors. Raises BadInput, with both places, if its voxels are not those
    of `space`, or if the two have none in common.
    """
    found = info(volume)
    whole = info(space)
    sizes = size_in(found, whole.units[0])
    if sizes is None:
        raise _refused(volume, space, "its unit cannot be compared with that of the volume")
    ratios = [size / one for size, one in zip(sizes, whole.voxel_size, strict=True)]
    factors = [max(1, round(ratio)) if coarser else 1 for ratio in ratios]
    if any(abs(ratio - step) > TOLERANCE * step for ratio, step in zip(ratios, factors, strict=True)):
        reason = (
            "has neither the voxel size of the volume nor whole multiples" if coarser else "has a different voxel size"
        )
        raise _refused(volume, space, reason)
    steps = voxels_between(found, whole)
    if any(abs(at - round(at)) > off for at, off in zip(steps, _allowed(found, whole), strict=True)):
        raise _refused(volume, space, "does not begin at a whole voxel of the volume")
    placed = Placement(begin=as_voxels(round(at) for at in steps), factor=as_voxels(factors))
    ends = placed.end(found.spatial)
    if any(end <= 0 or begin >= size for begin, end, size in zip(placed.begin, ends, whole.spatial, strict=True)):
        raise _refused(volume, space, "has no voxel in common with the volume")
    return placed


def covering(volume: Volume, space: Volume) -> Placement | None:
    """Where a mask or foreground lies, which must cover the volume that is segmented; None: exactly on it.

    It may be larger, and coarser by whole factors. A coarser one may lack what its last voxel would cover in part: many
    programs drop that rest. Raises BadInput with both places.
    """
    placed = place_in(volume, space, coarser=True)
    shape = info(space).spatial
    ends = placed.end(info(volume).spatial)
    missing = [size - end for size, end in zip(shape, ends, strict=True)]
    if max(placed.begin) > 0 or any(gap >= step for gap, step in zip(missing, placed.factor, strict=True)):
        raise _refused(volume, space, "does not cover the volume")
    return None if placed == Placement() and ends == shape else placed


def read_placed(volume: Volume, placed: Placement | None, roi: Roi) -> np.ndarray:
    """An array (z, y, x) in the voxels `roi` of the volume that is segmented; beyond its end its last voxels go on.

    A coarse voxel is repeated. Each voxel depends on its own place alone, so the result does not depend on blocks.
    """
    if placed is None:
        return read(volume, roi)
    axes = zip(roi.begin, roi.end, placed.begin, placed.factor, info(volume).spatial, strict=True)
    index = [np.minimum((np.arange(low, high) - begin) // step, size - 1) for low, high, begin, step, size in axes]
    first = Coordinate(int(places[0]) for places in index)
    last = Coordinate(int(places[-1]) for places in index)
    data = read(volume, Roi(first, last - first + Coordinate(1, 1, 1)))
    return data[np.ix_(*(places - at for places, at in zip(index, first, strict=True)))]


def in_words(found: Info) -> str:
    """Where a volume lies, to be read: `40, 4, 4 nm at 0, 0, 0 to 640, 192, 192`."""
    begin = ", ".join(format(at, ".6g") for at in found.offset)
    axes = zip(found.offset, found.voxel_size, found.spatial, strict=True)
    end = ", ".join(format(at + size * count, ".6g") for at, size, count in axes)
    return f"voxels of {as_text(found)} from {begin} to {end}"


def box_in_words(begin: Sequence[int], end: Sequence[int]) -> str:
    """A box of voxels, to be read: `z 4:12, y 8:40, x 8:40`."""
    return ", ".join(f"{axis} {low}:{high}" for axis, low, high in zip(SPATIAL, begin, end, strict=True))


def _allowed(found: Info, whole: Info) -> list[float]:
    """What each axis may be off the grid, of a voxel: rounding, also of numbers far from the origin."""
    ratio = unit_factor(found.units[0], whole.units[0]) or 1.0
    axes = zip(found.offset, whole.offset, whole.voxel_size, strict=True)
    far = [max(abs(at * ratio), abs(origin)) / size for at, origin, size in axes]
    return [min(MOST_OFF_GRID, max(OFF_GRID, TOLERANCE * steps)) for steps in far]


def _refused(volume: Volume, space: Volume, reason: str) -> BadInput:
    wanted = f"{in_words(info(space))} ({space.path})"
    return BadInput(volume.path, reason, got=in_words(info(volume)), wanted=wanted, todo=TODO)
