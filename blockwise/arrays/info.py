"""What is known of a volume without reading a voxel, from the attributes of its array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.attributes import space_of_attributes
from blockwise.arrays.space import SPATIAL, Space, place_of
from blockwise.arrays.webknossos import with_dataset
from blockwise.errors import BadInput
from blockwise.grid import Voxels

__all__ = ["SPATIAL", "Info", "described"]

CORRECT = dict.fromkeys(("voxel_size", "offset", "units"), "correct it, or import the volume again")


@dataclass(frozen=True)
class Info:
    """What is known of a volume without reading a voxel."""

    shape: tuple[int, ...]
    """All axes; a channel axis comes first."""
    dtype: np.dtype[Any]
    """In native byte order, as it is read."""
    voxel_size: tuple[float, ...]
    """Size of a voxel along z, y, x in `units`."""
    offset: tuple[float, ...]
    """Place of the first voxel's corner along z, y, x in `units`."""
    units: tuple[str, ...]
    """The unit along z, y, x, three times the same, by its name in `arrays.units`."""
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


def described(array: Any, where: Path, image: Callable[[], Space | None]) -> Info:
    """The description of a zarr array; raises BadInput if it is no volume, or its attributes make no sense.

    image: what the group of the array says of it, asked for only if the array does not say its place itself.
    """
    if array.ndim not in (3, 4):
        raise BadInput(
            where,
            "wrong number of axes",
            got=array.shape,
            wanted="(z, y, x) or (channel, z, y, x)",
            todo="import it again with `contraband import --axes`",
        )
    if min(array.shape) == 0:
        raise BadInput(where, "has an empty axis", got=array.shape, wanted="at least one voxel on each")
    attributes = dict(array.attrs)
    space = space_of_attributes(attributes, getattr(array.metadata, "dimension_names", None))
    if space.voxel_size is None or space.axes is None:
        space = with_dataset(space, image())
    names = axis_names_of(space, array.ndim, where)
    place = place_of(space, "czyx"[-array.ndim :], where, CORRECT)
    return Info(
        shape=array.shape,
        dtype=array.dtype.newbyteorder("="),
        voxel_size=place.voxel_size,
        offset=place.offset,
        units=(place.unit,) * 3,
        axis_names=names,
        offsets=offsets_of(attributes, array.shape, where),
        chunks=array.chunks,
        shards=array.shards,
        attributes=attributes,
    )


def axis_names_of(space: Space, ndim: int, where: Path) -> tuple[str, ...]:
    """The axes by name; raises BadInput for any other order than (channel,) z, y, x."""
    expected = SPATIAL if ndim == 3 else ("channel", *SPATIAL)
    letters = space.letters(ndim)
    names = space.axes.value if space.axes else ()
    if letters is None and len(names) in (0, ndim):
        return expected
    plain = tuple(str(name).rstrip("^") for name in names)
    if letters is not None and letters[-3:] == SPATIAL and "t" not in letters:
        return (*plain[:-3], *SPATIAL)
    raise BadInput(
        where,
        "wrong axis order",
        got=list(plain),
        wanted=list(expected),
        todo="import it again with `contraband import --axes`",
    )


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
