"""Where the array lies in the world: what the user says, else what the file says, else what is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

from blockwise.arrays.attributes import not_read, sizes_of
from blockwise.arrays.compare import TOLERANCE
from blockwise.arrays.space import SPATIAL, Location, Said, Space, place_of
from blockwise.arrays.units import factor
from blockwise.errors import BadInput
from contraband.importing.axes import StoredAxes
from contraband.importing.options import ImportOptions
from contraband.importing.source import ForeignArray

TODO = {"voxel_size": "give --voxel-size", "offset": "give --offset", "units": "give --units"}
NO_CHANGE = {"scale_factor": 1, "add_offset": 0}
"""Attributes by which NetCDF and xarray change numbers when they are read, and what changes nothing."""
NOT_SAID = "assumed: the file says nothing"


def placed(path: Path, source: ForeignArray, axes: str, options: ImportOptions) -> Location:
    """The place of the file's array, before any crop; axes: a letter per stored axis.

    Raises BadInput for what the file says and makes no sense, and for lengths that are given without their unit.
    """
    given = {
        key: Said(dict(zip(SPATIAL, value, strict=True)), f"--{key.replace('_', '-')}")
        for key, value in (("voxel_size", options.voxel_size), ("offset", options.offset))
        if value is not None
    }
    units = Said(options.units, "--units") if options.units else None
    of_file = source.space
    if given and units:
        of_file = _converted(path, of_file, axes, given, str(options.units))
    own = Space(None, given.get("voxel_size"), given.get("offset"), units)
    place = place_of(own.over(of_file), axes, path, TODO)
    if given and not units and place.unit != "nm":
        flags = " and ".join(said.where for said in given.values())
        said_by = place.sources["units"]["unit"]
        raise BadInput(flags, "in which unit?", got=f"{place.unit} from {said_by}", todo="say --units nm or another")
    return place


def _converted(path: Path, space: Space, axes: str, given: Mapping[str, Said], unit: str) -> Space:
    """What only the file says, in the unit of what is given."""
    left = Space(
        None,
        None if "voxel_size" in given else space.voxel_size,
        None if "offset" in given else space.offset,
        space.units,
    )
    if left.voxel_size is None and left.offset is None:
        return Space(space.axes)
    place = place_of(left, axes, path, TODO)
    ratio = factor(place.unit, unit)
    if ratio is None:
        raise BadInput(
            path, "lengths in different units", got=f"{place.unit} in the file, {unit} given", todo="give both"
        )
    numbers = {
        key: Said({axis: value * ratio for axis, value in zip(SPATIAL, values, strict=True)}, said.where)
        for key, said, values in (
            ("voxel_size", left.voxel_size, place.voxel_size),
            ("offset", left.offset, place.offset),
        )
        if said is not None
    }
    return Space(space.axes, numbers.get("voxel_size"), numbers.get("offset"))


def words(selection: StoredAxes, place: Location, source: ForeignArray) -> dict[str, str]:
    """Axes, voxel size, offset and unit in a line each, with who says so."""
    stored = selection.stored
    axes = f"{stored} {selection.said}"
    counts = dict(zip(selection.axes, source.shape, strict=True))
    if counts.get("t", 1) > 1:
        axes += f"; time point {selection.time} of {counts['t']}"
    if counts.get("c", 1) > 1:
        taken = selection.channels or (selection.first_channel,)
        axes += f"; {len(taken)} of {counts['c']} channels" + (
            "" if len(taken) > 8 else f": {', '.join(map(str, taken))}"
        )
    return {
        "axes": axes,
        "voxel size": _lengths(place.voxel_size, place, "voxel_size", stored),
        "offset": _lengths(place.offset, place, "offset", stored),
        "unit": f"{place.unit} {_source(place.sources['units']['unit'])}",
    }


def remarks_on_attributes(attributes: Mapping[str, Any], made: Mapping[str, Any], axes: str) -> tuple[str, ...]:
    """A line for what an array's attributes say and is not done: a size under another name, two sizes that are not one,
    a change of its numbers.

    made: the attributes of the volume, with what `words` gives. axes: a letter per stored axis.
    """
    lines: list[str] = []
    taken = made["source"]["said"]["voxel size"]
    if NOT_SAID in taken:
        names = not_read(attributes)
        lines += [f"its attribute {key}, {value}, is not read: give it as --voxel-size" for key, value in names.items()]
    elif "--voxel-size" not in taken:
        lines += [
            f"its attribute {key}, {space.voxel_size.value}, says something else and is not taken: "
            "give --voxel-size if it is right"
            for key, space in sizes_of(attributes).items()
            if space.voxel_size and f"attribute {key}" not in taken and not _is_same(space, made, axes)
        ]
    change = {
        key: attributes[key] for key, none in NO_CHANGE.items() if attributes.get(key, none) not in (none, [none])
    }
    if change:
        listed = " and ".join(f"{key} {value}" for key, value in change.items())
        lines.append(f"its attributes {listed} are not applied: the numbers are taken as they are stored")
    return tuple(lines)


def _is_same(space: Space, made: Mapping[str, Any], axes: str) -> bool:
    """Whether a voxel size is that of the volume made, or cannot be compared; some write it fastest axis first."""
    try:
        place = place_of(space, axes, "", TODO)
    except BadInput:
        return False
    ratio = factor(place.unit, made["units"][0])
    return ratio is None or any(
        all(isclose(one * ratio, other, rel_tol=TOLERANCE) for one, other in zip(place.voxel_size, wanted, strict=True))
        for wanted in (made["voxel_size"], made["voxel_size"][::-1])
    )


def _lengths(values: tuple[float, ...], place: Location, key: str, stored: str) -> str:
    """`20, 10, 10 um from the ImageJ header`, or each axis for itself where they have different sources."""
    sources = {axis: place.sources[key][axis] for axis in SPATIAL if axis in stored or place.sources[key][axis]}
    numbers = {axis: format(value, ".6g") for axis, value in zip(SPATIAL, values, strict=True)}
    if len(set(sources.values())) == 1:
        return f"{', '.join(numbers.values())} {place.unit} {_source(next(iter(sources.values())))}"
    pieces: list[str] = []
    for said in dict.fromkeys(sources.values()):
        along = ", ".join(f"{axis} {numbers[axis]}" for axis in sources if sources[axis] == said)
        pieces.append(f"{along} {place.unit} {_source(said)}")
    return "; ".join(pieces)


def _source(said: str | None) -> str:
    if said is None:
        return NOT_SAID
    return f"given by {said}" if said.startswith("--") else f"from {said}"
