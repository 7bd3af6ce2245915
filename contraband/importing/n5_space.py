"""N5 containers: which dataset is meant, and what it says of its place. N5 lists everything as x, y, z."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blockwise.arrays.attributes import corner, first_said
from blockwise.arrays.space import Said, Space, listed, number
from blockwise.arrays.webknossos import space_of_dataset, with_dataset
from blockwise.errors import BadInput
from contraband.importing.bigdataviewer import IN_N5, View, with_xml
from contraband.importing.n5 import N5Array
from contraband.importing.source import ForeignArray, Wanted, choose

SIZES = ("resolution", "voxel_size", "pixelResolution")
DEPTH = 6
"""So many groups around a dataset are looked at."""
UNKNOWN = "unknown"
PYRAMID = re.compile(r"(?:(.*)/)?s(\d+)")
"""How levels of one image are called: s0, s1, ..."""


@contextmanager
def open_n5(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """A dataset of an N5 container, or the container's place of one."""
    wanted.only(path, "name", "level")
    names = sorted(_datasets(path))
    name = _name(path, wanted, names)
    data = N5Array(path / name)
    space, remarks = _space(path, path / name, data.attributes)
    read = data.__getitem__
    yield ForeignArray(data.shape, data.dtype, read, space, data.attributes, remarks, missing=data.missing)


def _datasets(path: Path) -> Iterator[str]:
    """Every dataset by its place; attributes may be large, so only what may be a description is read as one."""
    for file in path.rglob("attributes.json"):
        text = file.read_text("utf-8", "replace")
        if '"dimensions"' in text and '"blockSize"' in text:
            yield file.parent.relative_to(path).as_posix()


def _name(path: Path, wanted: Wanted, names: Sequence[str]) -> str:
    """The dataset that is meant: of a pyramid s0, s1, ... the level."""
    asked = (wanted.name or "").strip("/")
    below = [name for name in names if not asked or name == asked or name.startswith(f"{asked}/")]
    found = [PYRAMID.fullmatch(name) for name in below]
    levels = {int(match.group(2)): match.group(0) for match in found if match}
    if below and all(found) and len({match.group(1) for match in found if match}) == 1 and asked not in names:
        level = wanted.level or 0
        if level not in levels:
            raise BadInput(path, "no such level of the image", got=level, wanted=f"one of {sorted(levels)}")
        return levels[level]
    if wanted.level is not None:
        raise BadInput(path, "--level is for a pyramid s0, s1, ..., and this is none", todo="leave it out")
    return choose(path, wanted.name, names)


def _space(root: Path, folder: Path, own: Mapping[str, Any]) -> tuple[Space, tuple[str, ...]]:
    """What a dataset says, or else the groups that it lies in, which speak of the largest level, or what is around.

    Also remarks on that.
    """
    groups = [_attributes(parent) for parent in _groups_above(root, folder)]
    factors = own.get("downsamplingFactors") or _factors(folder, own, groups)
    space = _said(own, factors, ("pixelResolution",))
    for group in groups:
        space = space.over(_said(group, factors, SIZES))
    space = with_dataset(space, _size_of_dataset(folder))
    view = View.called(IN_N5, folder.absolute().as_posix())
    if view is None or len(own["dimensions"]) != 3 or factors == UNKNOWN:
        return space, ()
    return with_xml(space, folder.absolute().parents[2], view, factors or (1, 1, 1))


def _size_of_dataset(folder: Path) -> Space | None:
    """The voxel size by a dataset of WEBKNOSSOS, by letters: of the order of axes N5 has its own notion."""
    found = space_of_dataset(folder, 0)
    return found and Space(None, found.voxel_size, None, found.units)


def _groups_above(root: Path, folder: Path) -> list[Path]:
    """The groups around a dataset, up to the container, which may begin above `root`, the path that was named."""
    parents = list(folder.absolute().parents)[:DEPTH]
    begins = [number for number, parent in enumerate(parents) if parent.suffix == ".n5" or "n5" in _attributes(parent)]
    within = [number for number, parent in enumerate(parents) if parent.is_relative_to(root.absolute())]
    return parents[: max([*begins[:1], *within], default=-1) + 1]


def _factors(folder: Path, own: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> Any:
    """By how much a voxel of a level s1, s2, ... is larger, x, y, z: as a group lists it, else by the levels' sizes.

    None for the largest level, for what is no level, and where nobody tells: then what groups say of s0 is not used.
    """
    found = PYRAMID.fullmatch(folder.name)
    level = int(found.group(2)) if found else 0
    for group in groups:
        for key in ("downsamplingFactors", "scales"):
            listed_there = group.get(key)
            if found and isinstance(listed_there, Sequence) and len(listed_there) > level:
                return listed_there[level]
    if level == 0:
        return None
    whole = _attributes(folder.parent / "s0").get("dimensions")
    if not isinstance(whole, Sequence) or len(whole) != len(own["dimensions"]):
        return UNKNOWN
    return [max(1, round(large / size)) for large, size in zip(whole, own["dimensions"], strict=True)]


def _said(attributes: Mapping[str, Any], factors: Any, scaled: Sequence[str]) -> Space:
    """What attributes say, turned to the order of the stored axes, slowest first.

    factors: by how much a voxel of this level is larger, x, y, z. scaled: attributes that give the size of the largest.
    """
    pixel = attributes.get("pixelResolution")
    plain = dict(attributes)
    if isinstance(pixel, Mapping):
        plain["pixelResolution"] = pixel.get("dimensions")
    size = first_said(plain, SIZES)
    if size and size.where.split()[-1] in scaled:
        size = None if factors == UNKNOWN else _times(size, factors)
    units = first_said(attributes, ("units", "unit"))
    if units is None and isinstance(pixel, Mapping) and pixel.get("unit"):
        units = Said(pixel["unit"], "attribute pixelResolution")
    offset = first_said(attributes, ("offset",))
    names = attributes.get("axes") or attributes.get("axis_names")
    is_named = isinstance(names, Sequence) and all(isinstance(name, str) for name in names)
    axes = Said(tuple(reversed(names)), "attribute axes") if is_named and names else None
    own = Space(axes, *(said and Said(_turned(said.value), said.where) for said in (size, offset, units)))
    return own.over(_of_transform(attributes.get("transform")))


def _turned(value: Any) -> Any:
    """A list the other way round; one number or word stays."""
    values = listed(value)
    return tuple(reversed(values)) if isinstance(values, list) and len(values) > 1 else value


def _times(said: Said, factors: Any) -> Said:
    """The voxel size of the largest level as that of a smaller one."""
    values = listed(said.value)
    if not isinstance(factors, Sequence) or not isinstance(values, list) or len(factors) != len(values):
        return said
    try:
        sizes = [number(value)[0] * number(factor)[0] for value, factor in zip(values, factors, strict=True)]
    except ValueError:
        return said
    return Said(sizes, f"{said.where} and downsamplingFactors")


def _of_transform(transform: Any) -> Space:
    """The attribute of COSEM volumes, which names its axes in an order of its own: by letter, so it does not matter."""
    if not isinstance(transform, Mapping) or not isinstance(transform.get("axes"), Sequence):
        return Space()
    where = "attribute transform"
    axes = transform["axes"]
    try:
        begin = corner(transform["translate"], transform["scale"])
        offset: Said | None = Said(dict(zip(axes, begin, strict=True)), where)
    except (KeyError, ValueError, TypeError):
        offset = None
    scale, units = transform.get("scale"), transform.get("units")
    size = Said(dict(zip(axes, scale, strict=False)), where) if isinstance(scale, Sequence) else None
    named = Said(dict(zip(axes, units, strict=False)), where) if isinstance(units, Sequence) else None
    return Space(None, size, offset, named)


def _attributes(folder: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((folder / "attributes.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, Mapping) else {}
