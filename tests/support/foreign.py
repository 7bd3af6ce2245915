"""Small files as other programs write them, each with what it says of itself."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import zarr

SHAPE = (4, 20, 24)
VOLUME = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
Write = Callable[[Path], Path]


def imagej(axes: str = "ZYX", pixel: tuple[float, float] = (1, 1), data: np.ndarray = VOLUME, **meta: Any) -> Write:
    """A TIFF file of ImageJ; pixel: size along x and y."""

    def write(folder: Path) -> Path:
        resolution = (1 / pixel[0], 1 / pixel[1])
        tifffile.imwrite(folder / "a.tif", data, imagej=True, resolution=resolution, metadata={"axes": axes, **meta})
        return folder / "a.tif"

    return write


def ome_tiff(axes: str = "ZYX", data: np.ndarray = VOLUME, **meta: Any) -> Write:
    """An OME-TIFF file."""

    def write(folder: Path) -> Path:
        path = folder / "a.ome.tif"
        tifffile.imwrite(path, data, metadata={"axes": axes, **meta}, photometric="minisblack")
        return path

    return write


def plain_tiff(data: np.ndarray = VOLUME, **options: Any) -> Write:
    """A TIFF file with nothing but tags."""

    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / "a.tif", data, photometric="minisblack", metadata=None, **options)
        return folder / "a.tif"

    return write


def hdf5(data: np.ndarray = VOLUME, **attributes: Any) -> Write:
    """An HDF5 file with one dataset."""

    def write(folder: Path) -> Path:
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("raw", data=data).attrs.update(attributes)
        return folder / "a.h5"

    return write


def hdf5_in_group(group: dict[str, Any], root: dict[str, Any] | None = None) -> Write:
    """An HDF5 file with one dataset in a group; root: attributes of the file."""

    def write(folder: Path) -> Path:
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("volumes/em/raw", data=VOLUME)
            file["volumes/em"].attrs.update(group)
            file.attrs.update(root or {})
        return folder / "a.h5"

    return write


def zarr_array(
    data: np.ndarray = VOLUME, zarr_format: int = 2, names: Sequence[str] | None = None, **said: Any
) -> Write:
    """A zarr array; names: of its dimensions, in zarr 3."""

    def write(folder: Path) -> Path:
        options = {"dimension_names": names} if names else {}
        zarr.create_array(folder / "a.zarr", data=data, zarr_format=zarr_format, attributes=said, **options)
        return folder / "a.zarr"

    return write


def xarray_group(coordinates: dict[str, Any], unit: str | None = "nm") -> Write:
    """A zarr array in a group of xarray; coordinates: of the centres of its voxels, by the name of an axis."""

    def write(folder: Path) -> Path:
        group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=2)
        group.create_array("raw", data=VOLUME, attributes={"_ARRAY_DIMENSIONS": ["z", "y", "x"]})
        for name, values in coordinates.items():
            said = {"_ARRAY_DIMENSIONS": [name]} | ({"units": unit} if unit else {})
            group.create_array(name, data=np.asarray(values), attributes=said)
        return folder / "a.zarr" / "raw"

    return write


def n5(data: np.ndarray = VOLUME, group: dict[str, Any] | None = None, **attributes: Any) -> Write:
    """An N5 dataset `s0` in one raw block; group: attributes of the container. All lists are x, y, z."""

    def write(folder: Path) -> Path:
        root = folder / "a.n5"
        n5_dataset(root / "s0", data, **attributes)
        (root / "attributes.json").write_text(json.dumps({"n5": "2.5.0", **(group or {})}))
        return root

    return write


def n5_dataset(place: Path, data: np.ndarray, **attributes: Any) -> None:
    """One N5 dataset in one raw block."""
    block = place.joinpath(*["0"] * data.ndim)
    block.parent.mkdir(parents=True)
    size = [int(length) for length in reversed(data.shape)]
    described = {"dimensions": size, "blockSize": size, "dataType": data.dtype.name, "compression": {"type": "raw"}}
    (place / "attributes.json").write_text(json.dumps({**described, **attributes}))
    content = data.astype(data.dtype.newbyteorder(">")).tobytes()
    block.write_bytes(struct.pack(f">HH{data.ndim}I", 0, data.ndim, *size) + content)


def scale(*values: float) -> dict[str, Any]:
    """A transformation of OME-Zarr."""
    return {"type": "scale", "scale": list(values)}


def translation(*values: float) -> dict[str, Any]:
    """A transformation of OME-Zarr."""
    return {"type": "translation", "translation": list(values)}


def space_axes(*units: str | None, names: str = "zyx") -> list[dict[str, str]]:
    """Axes of an OME-Zarr image: t, c, and the others with their units."""
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    for axis, unit in zip(axes[len(axes) - len(units) :], units, strict=True):
        axis.update({"unit": unit} if unit else {})
    return axes


def ome_zarr(
    levels: Sequence[Sequence[dict[str, Any]]],
    axes: Sequence[dict[str, str]] | None = None,
    version: str = "0.4",
    image: Sequence[dict[str, Any]] | None = None,
    data: np.ndarray = VOLUME,
) -> Write:
    """An OME-Zarr image; levels: the transformations of each; image: those of all."""

    def write(folder: Path) -> Path:
        path = folder / "a.zarr"
        write_ome_zarr(path, levels, axes or space_axes("nanometer", "nanometer", "nanometer"), version, image, data)
        return path

    return write


def write_ome_zarr(
    path: Path,
    levels: Sequence[Sequence[dict[str, Any]]],
    axes: Sequence[dict[str, str]],
    version: str,
    image: Sequence[dict[str, Any]] | None,
    data: np.ndarray,
) -> None:
    """The same at a path; from 0.6 on with systems of coordinates, before with axes."""
    group = zarr.open_group(path, mode="a", zarr_format=2 if version == "0.4" else 3)
    datasets: list[dict[str, Any]] = []
    for number, steps in enumerate(levels):
        step = 2**number
        smaller = data[(..., *(slice(None, None, step),) * 3)]
        names = [axis["name"] for axis in axes]
        group.create_array(f"s{number}", data=smaller, **({} if version == "0.4" else {"dimension_names": names}))
        datasets.append({"path": f"s{number}", "coordinateTransformations": steps})
    described: dict[str, Any] = {"name": "image", "axes": list(axes), "datasets": datasets}
    if image is not None:
        described["coordinateTransformations"] = list(image)
    if version == "0.4":
        group.attrs["multiscales"] = [{**described, "version": version}]
        return
    if version.startswith("0.6"):
        described["coordinateSystems"] = [
            {"name": "physical", "axes": space_axes("meter", "meter", "meter")},
            {"name": "intrinsic", "axes": described.pop("axes")},
        ]
        for dataset in datasets:
            steps = dataset["coordinateTransformations"]
            inner = steps[0] if len(steps) == 1 else {"type": "sequence", "transformations": steps}
            ends = {"input": {"path": dataset["path"]}, "output": {"name": "intrinsic"}}
            dataset["coordinateTransformations"] = [{**inner, **ends}]
    group.attrs["ome"] = {"version": version, "multiscales": [described]}
