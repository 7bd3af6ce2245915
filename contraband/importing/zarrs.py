"""Zarr arrays, version 2 or 3, in folders and zip files: alone, in a group, or as an OME-Zarr image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from blockwise.arrays.attributes import space_of_attributes
from blockwise.arrays.chunks import meaning_of_missing, missing_chunks
from blockwise.arrays.ngff import images_of, level_at, level_paths, space_of_image, with_image
from blockwise.arrays.opening import folder_of
from blockwise.arrays.space import Space
from blockwise.arrays.webknossos import space_of_dataset, with_dataset
from blockwise.errors import BadInput
from contraband.importing.coordinates import Along, along, space_of_coordinates
from contraband.importing.signatures import zipped_root
from contraband.importing.source import ForeignArray, Slices, Wanted, choose

SERIES = "bioformats2raw.layout"
"""The attribute of a group of images that Bio-Formats has converted."""


@contextmanager
def open_zarr(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """A zarr array, or one in a zarr group; of an image, one level."""
    with _store(path) as (store, root):
        try:
            node = _open(store, root)
            groups: list[tuple[Mapping[str, Any], str]] = []
            if isinstance(node, zarr.Group):
                array, groups = _in_group(path, node, wanted)
            else:
                wanted.only(path)
                array = node
                groups = _groups_above(path) if path.is_dir() else []
            attributes = dict(array.attrs)
            space = space_of_attributes(attributes, getattr(array.metadata, "dimension_names", None))
            space = with_image(space, _said_by(groups, path))
            if path.is_dir():
                space = with_dataset(space, space_of_dataset(folder_of(array), array.ndim))
            remarks = _same_as_largest(groups, array)
            if space.voxel_size is None and space.axes is not None:
                space = space.over(_by_coordinates(path, array, space.axes.value))
        except (BadInput, PermissionError):
            raise
        except Exception as error:  # zarr has one for everything, and not all are of one kind
            raise BadInput(path, f"is not readable zarr ({error})") from None
        missing = partial(missing_chunks, array) if path.is_dir() else None
        filled = meaning_of_missing(array)
        read = _reader(path, array)
        yield ForeignArray(array.shape, array.dtype, read, space, attributes, remarks, missing=missing, filled=filled)


@contextmanager
def _store(path: Path) -> Iterator[tuple[Any, str]]:
    """What zarr opens, and where in it the hierarchy begins."""
    if path.is_dir():
        yield path, ""
        return
    store = zarr.storage.ZipStore(path, mode="r", read_only=True)
    try:
        yield store, zipped_root(path) or ""
    finally:
        store.close()


def _open(store: Any, root: str) -> Any:
    """The array or group; consolidated metadata may be older than what they tell of, and are left alone."""
    try:
        return zarr.open_array(store, path=root or None, mode="r")
    except Exception as no_array:
        try:
            return zarr.open_group(store, path=root or None, mode="r", use_consolidated=False)
        except Exception:
            raise no_array from None


def _in_group(path: Path, group: Any, wanted: Wanted) -> tuple[Any, list[tuple[Mapping[str, Any], str]]]:
    """The array that is meant, and the groups that may describe it, each with the array's path in it."""
    name = (wanted.name or "").strip("/")
    prefix = _series(path, group, wanted.series) if not name and SERIES in _ome(group) else ""
    place = name or prefix
    node = _member(path, group, place)
    if isinstance(node, zarr.Group):
        place = "/".join(filter(None, (place, _level(path, node, place, wanted))))
        node = _member(path, group, place)
    else:
        wanted.only(path, "name")
    names = place.split("/")
    above = [_member(path, group, "/".join(names[:count])) for count in reversed(range(len(names)))]
    return node, [(dict(one.attrs), "/".join(names[len(names) - 1 - number :])) for number, one in enumerate(above)]


def _member(path: Path, group: Any, place: str) -> Any:
    """What lies at a place of a group; raises BadInput with all arrays if there is nothing."""
    if not place:
        return group
    try:
        return _open(group.store, f"{group.path}/{place}".strip("/"))
    except Exception:
        choose(path, place, sorted(_arrays(group)))
        raise


def _arrays(group: Any, prefix: str = "") -> Iterator[str]:
    """Every array by its path; each group is opened for itself, since those that are found bring their summaries."""
    for key, item in group.members():
        if isinstance(item, zarr.Array):
            yield f"{prefix}{key}"
        else:
            yield from _arrays(_open(item.store, item.path), f"{prefix}{key}/")


def _ome(group: Any) -> Mapping[str, Any]:
    attributes = dict(group.attrs)
    ome = attributes.get("ome")
    return ome if isinstance(ome, Mapping) else attributes


def _series(path: Path, group: Any, series: int | None) -> str:
    """The image of a group of several images that Bio-Formats has converted."""
    listed = _ome(group["OME"]).get("series") if "OME" in group else None
    names = list(listed) if listed else sorted((key for key in group.group_keys() if key.isdigit()), key=int)
    if series is None and len(names) == 1:
        return str(names[0])
    if series is None or not 0 <= series < len(names):
        raise BadInput(path, "holds several images", got=f"--series {series}", wanted=f"0 to {len(names) - 1}")
    return str(names[series])


def _level(path: Path, group: Any, place: str, wanted: Wanted) -> str:
    """The path in a group of the array that is meant: a level of its image, or the only array there is."""
    attributes = dict(group.attrs)
    images = images_of(attributes)
    several = [level_paths(image)[0] for image in images]
    if images and (len(images) == 1 or wanted.series is not None):
        number = 0 if len(images) == 1 else wanted.series or 0
        if not 0 <= number < len(images):
            raise BadInput(path, "no such series", got=number, wanted=f"0 to {len(images) - 1}")
        return level_at(images[number], path, wanted.level or 0)
    names = several or sorted(_arrays(group))
    whole = [f"{place}/{name}" if place else name for name in names]
    if wanted.level is not None or wanted.series is not None:
        key = "level" if wanted.level is not None else "series"
        listed = ", ".join(whole[:12])
        what = f"--{key} is for an OME-Zarr image, and this is none or several"
        raise BadInput(path, what, todo=f"give --name with one of {listed}")
    return names[whole.index(choose(path, None, whole))]


def _groups_above(path: Path) -> list[tuple[Mapping[str, Any], str]]:
    """The groups around an array that was named by its own path."""
    found: list[tuple[Mapping[str, Any], str]] = []
    for parent in list(path.absolute().parents)[:3]:
        try:
            group = zarr.open_group(parent, mode="r", use_consolidated=False)
        except Exception:
            break
        found.append((dict(group.attrs), path.absolute().relative_to(parent).as_posix()))
    return found


def _said_by(groups: Sequence[tuple[Mapping[str, Any], str]], path: Path) -> Space | None:
    """What the first image says that the array is in; None if it is in none."""
    spaces = (space_of_image(attributes, place, path) for attributes, place in groups)
    return next((space for space in spaces if space is not None), None)


def _same_as_largest(groups: Sequence[tuple[Mapping[str, Any], str]], array: Any) -> tuple[str, ...]:
    """A remark on a level of an image with the voxel size of the largest level, and fewer voxels."""
    for attributes, place in groups:
        for image in images_of(attributes):
            paths = level_paths(image)
            if place not in paths[1:]:
                continue
            sizes = [space_of_image(attributes, path, place) for path in (paths[0], place)]
            largest = _beside(array, place, paths[0])
            same = all(sizes) and sizes[0].voxel_size == sizes[1].voxel_size  # type: ignore[union-attr]
            if same and largest is not None and largest.shape != array.shape:
                return (f"its header gives level {place} the voxel size of {paths[0]}, which has more voxels",)
            return ()
    return ()


def _beside(array: Any, place: str, other: str) -> Any:
    """Another array of a group by its path there; None if there is none. place: the path of `array` in the group."""
    try:
        if array.path:
            root = array.path.removesuffix(place)
            return zarr.open_array(array.store, path=f"{root}{other}", mode="r")
        folder = Path(str(array.store_path.store.root))
        return zarr.open_array(Path(str(folder).removesuffix(place)) / other, mode="r")
    except Exception:  # whatever zarr raises for what is no array
        return None


def _by_coordinates(path: Path, array: Any, names: Sequence[str | None]) -> Space:
    """What coordinates say that lie beside the array under the names of its axes, as xarray stores them."""
    found: list[Along] = []
    place = array.path.rpartition("/")[2] or path.absolute().name
    for name, size in zip(names, array.shape, strict=False):
        beside = _beside(array, place, name) if name else None
        if beside is not None and beside.shape == (size,):
            found.append(along(name, beside[:], beside.attrs.get("units")))
        else:
            found.append(Along(name))
    return space_of_coordinates(found, "the coordinates beside it")


def _reader(path: Path, array: Any) -> Callable[[Slices], np.ndarray]:
    def read(slices: Slices) -> np.ndarray:
        try:
            return np.asarray(array[slices])
        except Exception as error:  # whatever its codecs raise
            raise BadInput(path, f"a chunk cannot be read ({error})", todo="copy the files again") from None

    return read
