"""What a file says of the place of its array in the world, and where it says it: the same class for every format."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blockwise.arrays.units import VOXELS, factor, says_nothing, to_store, unit_called
from blockwise.errors import BadInput

SPATIAL = ("z", "y", "x")
LETTERS = {
    **dict.fromkeys(("z", "depth", "plane", "section", "slice", "dim_z", "axis_z"), "z"),
    **dict.fromkeys(("y", "height", "row", "rows", "dim_y", "axis_y"), "y"),
    **dict.fromkeys(("x", "width", "col", "cols", "column", "columns", "dim_x", "axis_x"), "x"),
    **dict.fromkeys(("c", "ch", "chan", "channel", "channels", "band", "bands"), "c"),
    **dict.fromkeys(("t", "time", "frame", "frames"), "t"),
}
"""One letter for each axis that we know, by the names that programs give it."""
DEFAULTS = {"voxel_size": 1, "offset": 0}
_COUNTED = re.compile(r"(?:(?:dim|axis|phony_dim)_?\d+)?")
"""Names that xarray, HDF5 and others give to axes without one."""
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_WITH_UNIT = re.compile(rf"\s*({_NUMBER.pattern})\s*(\D*)\s*")


@dataclass(frozen=True)
class Said:
    """Something that a file says, as it stands there, and where."""

    value: Any
    """A number or text, one of them per axis, or by letter of the axis: `{"z": 40.0}`; None, also within: not said."""
    where: str
    """Such as `attribute resolution`, `the ImageJ header`: it follows the word `from`."""


@dataclass(frozen=True)
class Space:
    """Axes, voxel size, place and unit of an array as its file gives them; None is what it does not say.

    Lists go by the stored axes, slowest first: all of them, or those of space alone.
    """

    axes: Said | None = None
    """The name of each axis; None for one that has none."""
    voxel_size: Said | None = None
    offset: Said | None = None
    """Where the first voxel begins: its corner, not its centre."""
    units: Said | None = None

    def over(self, other: Space) -> Space:
        """What this says, and what only `other` says."""
        return Space(*(getattr(self, key) or getattr(other, key) for key in ("axes", "voxel_size", "offset", "units")))

    def letters(self, ndim: int) -> tuple[str | None, ...] | None:
        """A letter of `tczyx` for each of `ndim` stored axes, None for an axis of another kind.

        None where nothing is said: other than `ndim` names, or names that only count (dim_0).
        """
        names = self.axes.value if self.axes else ()
        if len(names) != ndim or all(is_unnamed(name) for name in names):
            return None
        return tuple(letter_of(name) for name in names)


@dataclass(frozen=True)
class Location:
    """The place of an array in the world along z, y, x, in one unit, and who says so."""

    voxel_size: tuple[float, ...]
    offset: tuple[float, ...]
    unit: str
    sources: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    """For `voxel_size` and `offset` by axis, for `units` under `unit`: where it is said; None where it is assumed."""


def is_unnamed(name: object) -> bool:
    """Whether an axis has no name, or one that a library made up."""
    return name is None or (isinstance(name, str) and _COUNTED.fullmatch(name.strip()) is not None)


def letter_of(name: object) -> str | None:
    """The letter of an axis by its name in a file; None for a name that is none of ours."""
    return LETTERS.get(name.strip().rstrip("^").lower()) if isinstance(name, str) else None


def place_of(space: Space, axes: str, where: object, todo: Mapping[str, str]) -> Location:
    """The place of an array with these stored axes, letters of `tczyx`; what is not said is 1, 0 and nm.

    Raises BadInput for what is said and makes no sense; todo: what to do about `voxel_size`, `offset`, `units`.
    """
    try:
        key = "voxel_size"
        sizes, in_sizes = numbers_along(space.voxel_size, axes, one_for_all=True)
        _check_positive(space.voxel_size, sizes)
        key = "offset"
        offsets, in_offsets = numbers_along(space.offset, axes)
        key = "units"
        units = units_along(space.units, axes) or in_sizes or in_offsets
    except ValueError as error:
        said: Said = getattr(space, key)
        raise BadInput(where, f"{said.where} makes no sense", got=said.value, wanted=error, todo=todo[key]) from None
    unit, factors = common_unit(units, where, todo["units"])
    written = [space.units] * bool(units_along(space.units, axes)) + [space.voxel_size, space.offset]
    unit_from = next((said.where for said in written if said), None) if units else None
    values = {"voxel_size": sizes, "offset": offsets}
    by_axis: dict[str, Any] = {
        key: {axis: getattr(space, key).where if axis in values[key] else None for axis in SPATIAL} for key in values
    }
    scaled = {key: tuple(_scaled(values[key], axis, factors, DEFAULTS[key]) for axis in SPATIAL) for key in values}
    return Location(scaled["voxel_size"], scaled["offset"], unit, {**by_axis, "units": {"unit": unit_from}})


def _scaled(values: Mapping[str, float], axis: str, factors: Mapping[str, float], default: float) -> float:
    ratio = factors.get(axis, 1.0)
    value = values.get(axis, default)
    # A number in the right unit stays as it is written, whole or not.
    return value if ratio == 1 or axis not in values else value * ratio


def numbers_along(said: Said | None, axes: str, one_for_all: bool = False) -> tuple[dict[str, float], dict[str, str]]:
    """A number per axis of z, y, x that has one, and the units written beside them (`4 nm`).

    one_for_all: a single number is that of every axis. Raises ValueError naming what is wanted, for anything else than
    one finite number per axis.
    """
    spatial = [axis for axis in axes if axis in SPATIAL]
    if said is None:
        return {}, {}
    values = listed(said.value)
    if isinstance(values, Mapping):
        pairs = [(axis, values[axis]) for axis in SPATIAL if axis in values]
    elif len(values) == 1 and (one_for_all or values[0] is None):
        pairs = [(axis, values[0]) for axis in spatial]
    elif len(values) == len(axes):
        pairs = list(zip(axes, values, strict=True))
    elif len(values) == 3 and spatial == ["y", "x"]:
        pairs = list(zip(SPATIAL, values, strict=True))
    elif len(values) >= len(spatial) and len(values) in (len(spatial), len(spatial) + 1):
        pairs = list(zip(spatial, values[-len(spatial) :], strict=True))
    else:
        raise ValueError(f"one number per axis {', '.join(spatial)}")
    found = {axis: number(value) for axis, value in pairs if axis in SPATIAL and value is not None}
    beside = {axis: unit for axis, (_, unit) in found.items() if unit}
    return {axis: value for axis, (value, _) in found.items()}, beside


def units_along(said: Said | None, axes: str) -> dict[str, str]:
    """A unit per axis of z, y, x that has one, by its name here; raises ValueError for what is no length."""
    if said is None:
        return {}
    spatial = [axis for axis in axes if axis in SPATIAL]
    values = listed(said.value)
    if isinstance(values, Mapping):
        pairs = list(values.items())
    elif len(values) == 1:
        pairs = [(axis, values[0]) for axis in SPATIAL]
    elif len(values) == len(axes):
        pairs = list(zip(axes, values, strict=True))
    else:
        pairs = list(zip(spatial[-len(values) :], values[-len(spatial) :], strict=False))
    found: dict[str, str] = {}
    for axis, text in pairs:
        if axis not in SPATIAL or says_nothing(text):
            continue
        unit = unit_called(text)
        if unit is None:
            raise ValueError("a unit of length, such as nm or micrometer")
        found[axis] = unit
    return found


def common_unit(units: Mapping[str, str], where: object, todo: str) -> tuple[str, dict[str, float]]:
    """The unit for all axes, nm if none is named, and what lengths along each axis are multiplied with."""
    if not units:
        return "nm", {}
    last = next(units[axis] for axis in reversed(SPATIAL) if axis in units)
    unit = to_store(last) if last != VOXELS else VOXELS
    factors: dict[str, float] = {}
    for axis in SPATIAL:
        ratio = factor(units.get(axis, last), unit)
        if ratio is None:
            raise BadInput(where, "axes have units that do not go together", got=dict(units), todo=todo)
        factors[axis] = ratio
    return unit, factors


def listed(value: Any) -> list[Any] | Mapping[str, Any]:
    """Numbers or words as a flat list, however they were written: nested, `40,4,4`, `40 4 4`, `[40, 4, 4]`, or one."""
    if isinstance(value, str):
        text = value.strip()
        if text[:1] in ("[", "("):
            try:
                return listed(json.loads(text.replace("(", "[").replace(")", "]")))
            except ValueError:
                return [value]
        if "," in text:
            return [one.strip() for one in text.split(",")]
        words = text.split()
        return words if len(words) > 1 and all(_NUMBER.fullmatch(word) for word in words) else [value]
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Sequence):
        if len(value) == 1 and isinstance(value[0], Sequence) and not isinstance(value[0], str):
            return listed(value[0])
        return list(value)
    return [value]


def number(value: Any) -> tuple[float, str | None]:
    """A finite number and the unit written beside it, if any; raises ValueError for anything else."""
    unit = None
    if isinstance(value, str):
        match = _WITH_UNIT.fullmatch(value)
        if not match:
            raise ValueError("numbers")
        value = float(match.group(1))
        if match.group(2).strip():
            unit = unit_called(match.group(2))
            if unit is None:
                raise ValueError("numbers with a unit of length")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("finite numbers, one per axis")
    return value, unit


def _check_positive(said: Said | None, sizes: Mapping[str, float]) -> None:
    if said is not None and any(size <= 0 for size in sizes.values()):
        raise ValueError("numbers above 0")
