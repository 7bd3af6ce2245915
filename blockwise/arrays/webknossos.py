"""Datasets of WEBKNOSSOS: what their description says of the arrays in their layers. It lists everything by x, y, z."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from blockwise.arrays.ngff import with_image
from blockwise.arrays.space import Said, Space, is_unnamed
from blockwise.files.address import Address

NAME = "datasource-properties.json"
WHERE = f"WEBKNOSSOS' {NAME}"
XYZ = ("x", "y", "z")
DEFAULT_ORDER = ("c", *XYZ)
"""Of arrays of four axes for which no order is written."""
DEPTH = 3
"""So many folders around an array are looked at."""


def space_of_dataset(folder: Path, ndim: int) -> Space | None:
    """What the dataset around an array says of its axes and voxel size; None if it lies in none, or at an address.

    folder: of the array. ndim: how many axes it has. A description that cannot be read, or does not name the array,
    says nothing.
    """
    if isinstance(folder, Address):
        return None
    place = folder.absolute()
    for parent in list(place.parents)[:DEPTH]:
        try:
            described = json.loads((parent / NAME).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return _space(described, place.relative_to(parent).as_posix(), ndim)
    return None


def with_dataset(own: Space, dataset: Space | None) -> Space:
    """What an array says itself, and what its dataset says besides; names that only count are no names of axes."""
    if dataset is not None and own.axes is not None and all(is_unnamed(name) for name in own.axes.value):
        own = replace(own, axes=dataset.axes or own.axes)
    return with_image(own, dataset)


def _space(described: Any, place: str, ndim: int) -> Space | None:
    for layer in _mappings(described, "dataLayers"):
        for level in _mappings(layer, "mags"):
            mag = _by_axis(level.get("mag"))
            if mag is None or place not in _places(layer, level, mag):
                continue
            scale = described.get("scale")
            factors = _by_axis(scale.get("factor") if isinstance(scale, Mapping) else scale)
            unit = scale.get("unit", "nanometer") if isinstance(scale, Mapping) else "nanometer"
            axes = _axes(layer, level, ndim)
            if factors is None:
                return Space(axes)
            sizes = {axis: factors[axis] * mag[axis] for axis in XYZ}
            along = [sizes.get(name) for name in axes.value] if axes else sizes
            return Space(axes, Said(along, WHERE), units=Said(unit, WHERE))
    return None


def _places(layer: Mapping[str, Any], level: Mapping[str, Any], mag: Mapping[str, float]) -> set[str]:
    """Where in the dataset the array of a level may lie: where it is written, else by the names of layer and level."""
    if isinstance(path := level.get("path"), str):
        return {posixpath.normpath(path)}
    names = {"-".join(format(mag[axis], "g") for axis in XYZ)}
    if len(set(mag.values())) == 1:
        names.add(format(mag["x"], "g"))
    return {f"{layer.get('name')}/{name}" for name in names}


def _axes(layer: Mapping[str, Any], level: Mapping[str, Any], ndim: int) -> Said | None:
    """The axes as they are stored, if each is named once."""
    order = level.get("axisOrder")
    if order is None:
        return Said(DEFAULT_ORDER, f"{WHERE}, by its default") if ndim == len(DEFAULT_ORDER) else None
    places = dict(order) if isinstance(order, Mapping) else {}
    places.update({one.get("name"): one.get("index") for one in _mappings(layer, "additionalAxes")})
    by_place = {place: name for name, place in places.items()}
    if len(places) == ndim and sorted(by_place, key=str) == list(map(int, range(ndim))):
        return Said(tuple(str(by_place[number]) for number in range(ndim)), WHERE)
    return None


def _by_axis(value: Any) -> dict[str, float] | None:
    """Positive numbers along x, y and z; one is that of each; None for anything else."""
    if isinstance(value, int | float):
        value = [value] * 3
    if isinstance(value, Mapping):
        value = [value.get(axis) for axis in XYZ]
    if not isinstance(value, Sequence) or len(value) != 3:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and one > 0 for one in value):
        return None
    return dict(zip(XYZ, map(float, value), strict=True))


def _mappings(owner: Any, key: str) -> list[Mapping[str, Any]]:
    found = owner.get(key) if isinstance(owner, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, Sequence) else []
