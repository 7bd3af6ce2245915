"""Datasets of HDF5 files: our own, ilastik's, PlantSeg's, NetCDF's, MATLAB's and whoever's; Imaris has its own file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from blockwise.arrays.attributes import SIZES, UNITS, space_of_attributes
from blockwise.arrays.space import Said, Space
from blockwise.errors import BadInput
from contraband.importing.bigdataviewer import IN_HDF5, View, with_xml
from contraband.importing.coordinates import Along, along, space_of_coordinates
from contraband.importing.filters import check_filters
from contraband.importing.imaris import is_imaris, open_imaris
from contraband.importing.source import ForeignArray, Wanted, choose


@contextmanager
def open_hdf5(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """A dataset of an HDF5 file."""
    with h5py.File(path, "r") as file:
        if is_imaris(file) and (wanted.name is None or wanted.name.strip("/") == "DataSet"):
            with open_imaris(path, file, wanted) as source:
                yield source
            return
        wanted.only(path, "name")
        data = _dataset(path, file, wanted.name)
        if data.shape is None:
            raise BadInput(f"{path}:{data.name}", "is empty", got="no shape", wanted="an array")
        check_filters(path, data)
        _check_parts(path, data)
        attributes = {key: plain(value) for key, value in _attributes(data).items()}
        space, remarks = _in_data_set(path, file, data, _space(data, attributes))
        yield ForeignArray(data.shape, data.dtype, data.__getitem__, space, attributes, remarks)


def _dataset(path: Path, file: h5py.File, name: str | None) -> h5py.Dataset:
    """The dataset of a name, also behind a link; raises BadInput naming those there are."""
    if name is not None:
        link = file.get(name, getlink=True)
        found = file.get(name)
        if isinstance(found, h5py.Dataset):
            return found
        if found is None and isinstance(link, h5py.ExternalLink):
            raise BadInput(f"{path}:{name}", f"is a link to {link.path} in {link.filename}, which is not there")
        if found is None and isinstance(link, h5py.SoftLink):
            raise BadInput(f"{path}:{name}", f"is a link to {link.path}, which is not there")
    names = sorted(_names(file))
    inside = [one for one in names if name is not None and one.startswith(f"{name.strip('/')}/")]
    return file[choose(path, None, inside) if len(inside) == 1 else choose(path, name, names)]


def _in_data_set(path: Path, file: h5py.File, data: h5py.Dataset, own: Space) -> tuple[Space, tuple[str, ...]]:
    """What the data set of BigDataViewer says besides that the array is an image of, if it is, and remarks on it."""
    view = View.called(IN_HDF5, data.name or "")
    if view is None or data.ndim != 3:
        return own, ()
    levels = file.get(f"s{view.setup:02d}/resolutions")
    is_listed = isinstance(levels, h5py.Dataset) and levels.ndim == 2 and len(levels) > view.level
    if not is_listed and view.level:
        return own, (f"nothing says by how much voxels of level {view.level} are larger",)
    space, remarks = with_xml(own, path, view, levels[view.level] if is_listed else (1, 1, 1))
    if data.dtype == np.int16:
        remarks += ("BigDataViewer stores numbers from 0 to 65535 as int16: what is below 0 here is above 32767 there",)
    return space, remarks


def _names(group: h5py.Group, prefix: str = "") -> Iterator[str]:
    """Every dataset by its path, behind links too, but each group once: links may lead back."""
    for key in group:
        link = group.get(key, getlink=True)
        found = group.get(key)
        if isinstance(found, h5py.Dataset):
            yield f"{prefix}{key}"
        elif isinstance(found, h5py.Group) and isinstance(link, h5py.HardLink):
            yield from _names(found, f"{prefix}{key}/")


def _check_parts(path: Path, data: h5py.Dataset) -> None:
    """Raise BadInput for a dataset whose parts lie in other files that are missing: it would read as its fill value."""
    sources = {source.file_name for source in data.virtual_sources()} if data.is_virtual else set()
    sources |= {name for name, _, _ in data.external or ()}
    for name in sources - {"."}:
        place = name.decode() if isinstance(name, bytes) else name
        if "%" not in place and not any((folder / place).exists() for folder in (path.parent, Path())):
            raise BadInput(f"{path}:{data.name}", f"has a part in {place}, which is not there", todo="copy it too")


def _attributes(data: h5py.Dataset) -> Mapping[str, Any]:
    """What can be read of the attributes: some hold types that only their program knows."""
    found = {}
    for key in data.attrs:
        try:
            found[key] = data.attrs[key]
        except (OSError, TypeError, ValueError):
            continue
    return found


def plain(value: Any) -> Any:
    """An HDF5 attribute as numbers, text and lists; None for an empty one."""
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [plain(one) for one in value] if isinstance(value, list) else value


def _space(data: h5py.Dataset, attributes: Mapping[str, Any]) -> Space:
    """What the dataset says, then its groups, then its dimension scales; MATLAB stores axes in the opposite order."""
    said = space_of_attributes(attributes)
    above = _of_groups(data)
    scales = Space()
    if any(dimension.label or len(dimension) for dimension in data.dims):
        scales = _of_dimensions(data)
    matlab = Space()
    if "MATLAB_class" in attributes and data.ndim in (2, 3):
        matlab = Space(Said(("z", "x", "y")[-data.ndim :], "MATLAB's order: row, column, section"))
    return said.over(above).over(scales).over(matlab)


def _of_groups(data: h5py.Dataset) -> Space:
    """Voxel size and unit of the nearest group around the dataset that says a size."""
    group = data
    while group.name != "/":
        group = group.parent
        found = {key: plain(value) for key, value in _attributes(group).items() if key in (*SIZES, *UNITS)}
        if (said := space_of_attributes(found)).voxel_size:
            return said
    return Space()


def _of_dimensions(data: h5py.Dataset) -> Space:
    """Axes, steps and place by dimension scales, as NetCDF has them."""
    found: list[Along] = []
    for dimension in data.dims:
        scale = dimension[0] if len(dimension) else None
        name = dimension.label or (scale.name.rsplit("/", 1)[-1] if scale is not None else "") or None
        # A dimension without coordinates has a scale too, of zeros or numbers: it says nothing.
        unit = None if scale is None else plain(scale.attrs.get("units"))
        found.append(Along(name) if scale is None or scale.ndim != 1 else along(name, scale[:], unit))
    return space_of_coordinates(found, "its dimension scales")
