"""Whether two volumes lie where they should to each other, in one unit and with the tolerance of rounded headers."""

from __future__ import annotations

from collections.abc import Sequence

from blockwise.arrays.info import Info
from blockwise.arrays.units import factor

TOLERANCE = 1e-4
"""Of a voxel size: headers keep float32, or a few digits."""
OFF_GRID = 0.01
"""Of a voxel: what a place may lie beside a whole number of voxels, for the same reason."""


def size_in(found: Info, unit: str) -> tuple[float, ...] | None:
    """The voxel size of a volume in another unit; None if one of the units is no length."""
    ratio = factor(found.units[0], unit)
    return None if ratio is None else tuple(size * ratio for size in found.voxel_size)


def voxels_between(found: Info, other: Info) -> tuple[float, ...]:
    """How many voxels after `other` a volume of the same voxel size begins, along z, y, x."""
    ratio = factor(found.units[0], other.units[0]) or 1.0
    axes = zip(found.offset, other.offset, other.voxel_size, strict=True)
    return tuple((at * ratio - origin) / size for at, origin, size in axes)


def as_text(found: Info) -> str:
    """Voxel size and unit of a volume, to be read."""
    return f"{_listed(found.voxel_size)} {found.units[0]}"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(format(value, ".6g") for value in values)
