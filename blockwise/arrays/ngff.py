"""OME-Zarr images, 0.4 to 0.6, as far as they say where an array lies: read from the attributes of their group.

What is read here, `arrays.ome` writes. A validator of the whole standard would refuse what only breaks a rule that
does not matter here, and takes as long to load as all of zarr; the tests hold our own images against one.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from blockwise.arrays.space import Said, Space, listed, number
from blockwise.arrays.units import NANOMETRES, unit_called
from blockwise.errors import BadInput

KINDS = {"channel": "c", "time": "t"}
BY_CENTRE = "half a voxel before the centre they give"


def images_of(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images of a group, by the attributes of that group; none for a group of another kind."""
    ome = attributes.get("ome")
    found = ome.get("multiscales") if isinstance(ome, Mapping) else attributes.get("multiscales")
    if not isinstance(found, Sequence):
        return []
    return [dict(image) for image in found if isinstance(image, Mapping) and level_paths(image)]


def level_paths(image: Mapping[str, Any]) -> list[str]:
    """Where the arrays of an image lie in its group, the largest first."""
    levels = image.get("datasets")
    if not isinstance(levels, Sequence):
        return []
    return [posixpath.normpath(str(level["path"])).strip("/") for level in levels if _has_path(level)]


def _has_path(level: Any) -> bool:
    return isinstance(level, Mapping) and "path" in level


def only_level(attributes: Mapping[str, Any], where: object, level: int = 0) -> str | None:
    """The path in its group of one level of the only image there; None if there is no image.

    Raises BadInput if there are several images, or no such level.
    """
    images = images_of(attributes)
    if not images:
        return None
    if len(images) > 1:
        names = ", ".join(level_paths(image)[0] for image in images)
        raise BadInput(
            where, "is a zarr group of several images", got="no name", wanted=f"one of {names}", todo="name one"
        )
    return level_at(images[0], where, level)


def level_at(image: Mapping[str, Any], where: object, level: int) -> str:
    """The path of one level of an image; raises BadInput if it has no such level."""
    paths = level_paths(image)
    if not 0 <= level < len(paths):
        raise BadInput(where, "no such level of the image", got=level, wanted=f"0 to {len(paths) - 1}")
    return paths[level]


def space_of_image(attributes: Mapping[str, Any], path: str, where: object) -> Space | None:
    """What a group says of its array at `path`; None if it is in none of its images.

    The standard gives the centre of the first voxel, `Space` its corner; an image that means corners too is told by its
    levels. Raises BadInput for transformations that are
    more than a scale and a translation.
    """
    for image in images_of(attributes):
        for level, name in zip(image["datasets"], level_paths(image), strict=True):
            if name == posixpath.normpath(path).strip("/"):
                return _space(image, level, version_of(attributes, image), where)
    return None


def with_image(own: Space, image: Space | None) -> Space:
    """What an array says itself, and what its image says besides: lengths of both are never mixed in two units.

    Where the two differ in the voxel size, and only the image names a unit, neither is taken: `place_of` refuses it.
    """
    if image is None:
        return own
    if own.voxel_size is None or image.voxel_size is None or image.units is None:
        return own.over(image)
    if own.units is not None:
        return own.over(Space(axes=image.axes))
    bare, named = _nanometres(own), _nanometres(image)
    if bare is None or named is None or listed(own.voxel_size.value) == listed(image.voxel_size.value):
        return own.over(image)
    if len(bare) != len(named) or not all(map(math.isclose, bare, named)):
        where = f"{own.voxel_size.where} beside {image.voxel_size.where}"
        return replace(own, voxel_size=Said(f"{bare} and {named} in nm", where))
    if own.offset is None:
        return replace(image, axes=own.axes or image.axes)
    return replace(own, axes=own.axes or image.axes, units=Said("nm", f"{own.voxel_size.where}, as the image has it"))


def _nanometres(space: Space) -> list[float] | None:
    """The voxel size along the last three axes in nm, also where no unit is said; None if that makes no sense."""
    sizes, units = (listed(said.value) if said else ["nm"] for said in (space.voxel_size, space.units))
    if isinstance(sizes, Mapping) or isinstance(units, Mapping):
        return None
    names = [unit_called(unit) for unit in (units * len(sizes) if len(units) == 1 else units)][-3:]
    try:
        return [round(number(size)[0] * NANOMETRES[str(name)], 9) for size, name in zip(sizes[-3:], names, strict=True)]
    except (ValueError, KeyError):
        return None


def version_of(attributes: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """The version of the standard as it is said, such as 0.4."""
    ome = attributes.get("ome")
    return str((ome if isinstance(ome, Mapping) else image).get("version", "0.4"))


def _space(image: Mapping[str, Any], level: Mapping[str, Any], version: str, where: object) -> Space:
    header = f"the multiscales of OME-Zarr {version}"
    axes = _axes(image, level)
    steps = _steps(image, level, where)
    scale, _ = _composed(steps, len(axes), where)
    units = [axis.get("unit") if isinstance(axis, Mapping) else None for axis in axes]
    offset = _offset(image, level, len(axes), where)
    how = "the corner that all levels share" if _shares_corners(image, len(axes), where) else BY_CENTRE
    return Space(
        axes=Said(tuple(_name(axis) for axis in axes), header) if axes else None,
        voxel_size=Said(scale, header) if steps else None,
        offset=Said(offset, f"{header}, {how}") if offset else None,
        units=Said(units, header) if any(units) else None,
    )


def _offset(image: Mapping[str, Any], level: Mapping[str, Any], count: int, where: object) -> list[float] | None:
    """The corner of the first voxel of a level; None if it is not said.

    Where the largest level has no translation, the image is at no place: the corner of that level is 0.
    """
    steps = _steps(image, level, where)
    first = _steps(image, image["datasets"][0], where)
    is_placed = any(step["type"] == "translation" for step in first)
    if not is_placed and not any(step["type"] == "translation" for step in steps):
        return None
    scale, centre = _composed(steps, count, where)
    if _shares_corners(image, count, where):
        return centre
    origin = [0.0] * count if is_placed else [-size / 2 for size in _composed(first, count, where)[0]]
    return [at - size / 2 - zero for at, size, zero in zip(centre, scale, origin, strict=True)]


def _shares_corners(image: Mapping[str, Any], count: int, where: object) -> bool:
    """Whether levels of different voxel sizes have one translation: then it is their corner.

    The standard gives centres, and those of larger voxels lie further from the corner. Programs that write the same for
    all levels mean where the image begins.
    """
    levels = [_steps(image, level, where) for level in image["datasets"]]
    if len(levels) < 2 or not all(any(step["type"] == "translation" for step in steps) for steps in levels):
        return False
    scales, places = zip(*(_composed(steps, count, where) for steps in levels), strict=True)
    return all(place == places[0] for place in places) and any(scale != scales[0] for scale in scales)


def _steps(image: Mapping[str, Any], level: Mapping[str, Any], where: object) -> list[Mapping[str, Any]]:
    """Every scale and translation of a level and of its image, in order."""
    steps = list(_flat(level.get("coordinateTransformations"), where))
    if "coordinateSystems" not in image:  # from 0.6 on, those of the image lead to further systems of coordinates
        steps += _flat(image.get("coordinateTransformations"), where)
    return steps


def _axes(image: Mapping[str, Any], level: Mapping[str, Any]) -> list[Any]:
    """The axes of the arrays: from 0.6 on those of the system of coordinates that the level leads to."""
    systems = image.get("coordinateSystems")
    if not isinstance(systems, Sequence):
        return list(image.get("axes") or ())
    steps = level.get("coordinateTransformations") or [{}]
    target = steps[-1].get("output")
    name = target.get("name") if isinstance(target, Mapping) else target  # release candidates gave the name alone
    named = [system for system in systems if isinstance(system, Mapping) and system.get("name") == name]
    return list((named or systems)[0].get("axes") or ())


def _name(axis: Any) -> str | None:
    """The axis by its kind where that says more than its name."""
    if not isinstance(axis, Mapping):
        return str(axis)  # 0.3 had names alone
    return KINDS.get(str(axis.get("type"))) or axis.get("name")


def _flat(transforms: Any, where: object) -> Iterator[Mapping[str, Any]]:
    """The scales and translations in one transformation or a list of them, in order; raises BadInput for any other."""
    if isinstance(transforms, Mapping):  # one, as some programs write it
        transforms = [transforms]
    for step in transforms if isinstance(transforms, Sequence) else ():
        kind = step.get("type") if isinstance(step, Mapping) else step
        if kind == "sequence":
            yield from _flat(step.get("transformations"), where)
        elif kind in ("scale", "translation") and isinstance(step.get(kind), Sequence):
            yield step
        elif kind != "identity":
            raise BadInput(
                where,
                "the image has a transformation that is not known here",
                got=f"{kind} with a path" if kind in ("scale", "translation") else kind,
                wanted="scale, translation, or a sequence of them",
                todo="import the array itself with --voxel-size and --offset",
            )


def _composed(steps: Sequence[Mapping[str, Any]], count: int, where: object) -> tuple[list[float], list[float]]:
    """Scale and translation of all steps, one after the other, along `count` axes."""
    scale = [1.0] * count
    translation = [0.0] * count
    for step in steps:
        kind = step["type"]
        values = step[kind]
        if len(values) != count or not all(isinstance(value, int | float) for value in values):
            raise BadInput(where, f"the {kind} of the image is not one number per axis", got=values, wanted=count)
        if kind == "scale":
            scale = [one * value for one, value in zip(scale, values, strict=True)]
            translation = [one * value for one, value in zip(translation, values, strict=True)]
        else:
            translation = [one + value for one, value in zip(translation, values, strict=True)]
    return scale, translation
