"""What is known of a volume without reading a voxel, from the attributes of its array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.errors import BadInput
from blockwise.grid import Voxels

SPATIAL = ("z", "y", "x")


@dataclass(frozen=True)
class Info:
    """What is known of a volume without reading a voxel."""

    shape: tuple[int, ...]
    """All axes; a channel axis comes first."""
    dtype: np.dtype[Any]
    voxel_size: tuple[float, ...]
    """Size of a voxel along z, y, x in `units`."""
    offset: tuple[float, ...]
    """Place of the first voxel along z, y, x in `units`."""
    units: tuple[str, ...]
    axis_names: tuple[str, ...]
    offsets: tuple[Voxels, ...]
    """Affinity offsets in voxels, one a channel; empty for other volumes."""
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    attributes: dict[str, Any]

    @property
    def spatial(self) -> Voxels:
        """Shape along z, y, x."""
        z, y, x = self.shape[-3:]
        return z, y, x

    @property
    def channels(self) -> int | None:
        """Length of the channel axis; None if there is none."""
        return self.shape[0] if len(self.shape) == 4 else None

    @property
    def unit_of_writing(self) -> Voxels:
        """Voxels along z, y, x that are stored in one file, so that two writers of it would lose data."""
        z, y, x = (self.shards or self.chunks)[-3:]
        return z, y, x


def axis_names_of(attributes: dict[str, Any], ndim: int, where: Path) -> tuple[str, ...]:
    expected = SPATIAL if ndim == 3 else ("channel", *SPATIAL)
    names = attributes.get("axis_names")
    if names is None:
        return expected
    plain = tuple(str(name).rstrip("^") for name in names)
    if len(plain) == ndim and plain[-3:] == SPATIAL:
        return plain
    raise BadInput(
        where,
        "wrong axis order",
        got=list(plain),
        wanted=list(expected),
        todo="import it again with `contraband import --axes`",
    )


def numbers_of(attributes: dict[str, Any], key: str, default: float, where: Path) -> tuple[float, ...]:
    values = attributes.get(key)
    if values is None:
        return (default,) * 3
    if (
        not isinstance(values, list)
        or len(values) < 3
        or not all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    ):
        raise BadInput(where, f"attribute {key} is not three numbers", got=values, wanted="[z, y, x]")
    if key == "voxel_size" and min(values[-3:]) <= 0:
        raise BadInput(where, "voxel_size is not positive", got=values, wanted="three numbers above 0")
    return tuple(values[-3:])


def units_of(attributes: dict[str, Any], where: Path) -> tuple[str, ...]:
    units = attributes.get("units", ["nm"] * 3)
    if not isinstance(units, list) or len(units) < 3:
        raise BadInput(where, "attribute units is not three names", got=units, wanted='["nm", "nm", "nm"]')
    return tuple(str(unit) for unit in units[-3:])


def offsets_of(attributes: dict[str, Any], shape: tuple[int, ...], where: Path) -> tuple[Voxels, ...]:
    values = attributes.get("offsets")
    if values is None:
        return ()
    try:
        offsets = tuple((int(z), int(y), int(x)) for z, y, x in values)
    except (TypeError, ValueError):
        raise BadInput(where, "attribute offsets is not a list of [z, y, x]", got=values) from None
    if len(shape) == 4 and len(offsets) != shape[0]:
        raise BadInput(where, "one offset per channel is needed", got=len(offsets), wanted=shape[0])
    return offsets
