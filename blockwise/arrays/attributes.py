"""What the attributes of an array say of its place in the world: the names that programs agree on, and their own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from blockwise.arrays.space import Said, Space, listed, number

SIZES = (
    "voxel_size",
    "resolution",
    *(f"{name}_{unit}" for name in ("element_size", "voxel_size", "resolution") for unit in ("um", "nm")),
)
UNITS = ("units", "unit")
_LIKE_A_SIZE = re.compile(r"spacing|voxel|pixel|resolution|scal|element_?size", re.IGNORECASE)
AXES = ("axis_names", "dimension_names", "_ARRAY_DIMENSIONS", "axes")


def space_of_attributes(attributes: Mapping[str, Any], dimension_names: Sequence[str | None] | None = None) -> Space:
    """What an array's own attributes say; lists in them go by the stored axes, slowest first.

    dimension_names: those of a zarr 3 array.
    """
    size = first_said(attributes, SIZES)
    units = first_said(attributes, UNITS)
    if size and size.where.endswith(("_um", "_nm")):
        units = Said(size.where[-2:], size.where)
    own = Space(_axes(attributes, dimension_names), size, first_said(attributes, ("offset",)), units)
    return own.over(_of_transform(attributes.get("transform"))).over(_of_axistags(attributes.get("axistags")))


def sizes_of(attributes: Mapping[str, Any]) -> dict[str, Space]:
    """All voxel sizes that the attributes say, the one that counts first, each with its units."""
    every = {
        key: space_of_attributes({one: attributes[one] for one in attributes if one not in SIZES or one == key})
        for key in SIZES
        if key in attributes
    }
    return {key: Space(None, space.voxel_size, None, space.units) for key, space in every.items() if space.voxel_size}


def not_read(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that may well be a voxel size, under names that no two programs use alike: 2 numbers or more."""
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        if key in SIZES or not _LIKE_A_SIZE.search(key):
            continue
        values = listed(value)
        numbers = values.values() if isinstance(values, Mapping) else values
        try:
            count = sum(number(one)[0] > 0 for one in numbers)
        except ValueError:
            continue
        if 2 <= count == len(numbers) <= 5:
            found[key] = value
    return found


def first_said(attributes: Mapping[str, Any], keys: Sequence[str]) -> Said | None:
    """The first of these attributes that says anything."""
    for key in keys:
        value = attributes.get(key)
        if value is not None and not is_empty(value):
            return Said(value, f"attribute {key}")
    return None


def is_empty(value: Any) -> bool:
    """Whether this is an empty list or text, or a list of nulls."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value == ""
    return all(one is None for one in value)


def corner(centre: Any, size: Any) -> list[float | None]:
    """Where a voxel begins, by its centre and its size along each axis; raises ValueError if these are no numbers."""
    centres, sizes = listed(centre), listed(size)
    if len(centres) != len(sizes):
        raise ValueError("one number per axis")
    return [
        None if at is None or step is None else number(at)[0] - number(step)[0] / 2
        for at, step in zip(centres, sizes, strict=True)
    ]


def _axes(attributes: Mapping[str, Any], dimension_names: Sequence[str | None] | None) -> Said | None:
    for key in AXES:
        value = attributes.get(key)
        names = listed(value) if isinstance(value, str | Sequence) else None
        if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
            names = list(names[0])  # "zyx"
        if names and all(isinstance(name, str) for name in names):
            return Said(tuple(names), f"attribute {key}")
    if dimension_names and any(dimension_names):
        return Said(tuple(dimension_names), "dimension_names")
    return None


def _of_transform(transform: Any) -> Space:
    """The attribute of COSEM volumes: `translate` is the centre of the first voxel."""
    if not isinstance(transform, Mapping):
        return Space()
    where = "attribute transform"
    try:
        offset = Said(corner(transform["translate"], transform["scale"]), where)
    except (KeyError, ValueError, TypeError):
        offset = None
    said = {key: Said(transform[key], where) for key in ("axes", "scale", "units") if transform.get(key)}
    return Space(said.get("axes"), said.get("scale"), offset, said.get("units"))


def _of_axistags(tags: Any) -> Space:
    """The axes of vigra and ilastik, as JSON text or what it stands for; a resolution of 0 is not known."""
    if isinstance(tags, str):
        try:
            tags = json.loads(tags)
        except ValueError:
            return Space()
    axes = tags.get("axes") if isinstance(tags, Mapping) else None
    if not isinstance(axes, Sequence) or not all(isinstance(axis, Mapping) for axis in axes):
        return Space()
    where = "attribute axistags"
    sizes = [axis.get("resolution") or None for axis in axes]
    spatial = [axis.get("key") in ("z", "y", "x") for axis in axes]
    known = all(size for size, is_space in zip(sizes, spatial, strict=True) if is_space)
    return Space(Said(tuple(axis.get("key") for axis in axes), where), Said(sizes, where) if known else None)
