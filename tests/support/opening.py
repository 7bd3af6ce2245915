"""Open an exported image with a program of others, and print as JSON what it finds; run in .venv-readers.

    .venv-readers/bin/python tests/support/opening.py READER PATH

Nothing of this project is installed there, and nothing of it is imported here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Found = dict[str, Any]


def found(name: str, values: Any, axes: str, scale: Sequence[float], begin: Sequence[float] | None = None) -> Found:
    """What is compared of one array. scale and begin: along z, y, x; begin is None where the reader does not tell."""
    array = np.ascontiguousarray(values)
    return {
        "name": name,
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "axes": axes,
        "scale": [float(size) for size in scale],
        "begin": None if begin is None else [float(place) for place in begin],
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }


def ome_zarr_py(path: Path) -> Iterator[Found]:
    """Image and labels, all levels."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    for node in Reader(parse_url(str(path)))():
        axes = "".join(axis["name"] for axis in node.metadata.get("axes", ()))
        for number, (level, said) in enumerate(
            zip(node.data, node.metadata.get("coordinateTransformations", ()), strict=True)
        ):
            scale = next(one["scale"] for one in said if one["type"] == "scale")[-3:]
            begin = next(one["translation"] for one in said if one["type"] == "translation")[-3:]
            yield found(f"{Path(str(node.zarr)).name.split(' ')[0]}/{number}", level, axes, scale, begin)


def napari_ome_zarr(path: Path) -> Iterator[Found]:
    """The layers that napari would show, all levels, channels together; it tells no place, and the finest's scale."""
    from napari_ome_zarr import napari_get_reader

    layers = napari_get_reader(str(path))(str(path))
    for wanted in ("image", "labels"):
        chosen = [(levels, how) for levels, how, kind in layers if kind == wanted]
        how = chosen[0][1]
        name = path.name if wanted == "image" else how["name"]
        for number, channels in enumerate(zip(*(levels for levels, _ in chosen), strict=True)):
            axes = "".join(how["axis_labels"])
            values = np.stack(channels) if len(channels) > 1 else channels[0]
            told = "c" + axes if len(channels) > 1 else axes
            yield found(f"{name}/{number}", values, told, [] if number else how["scale"])


def ome_zarr_py_colours(path: Path) -> Iterator[Found]:
    """How each channel of the image is shown."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    (said,) = (node.metadata for node in Reader(parse_url(str(path)))() if "colormap" in node.metadata)
    for colours, limits, visible in zip(said["colormap"], said["contrast_limits"], said["visible"], strict=True):
        yield {"colours": colours, "limits": limits, "is_visible": visible}


def napari_ome_zarr_colours(path: Path) -> Iterator[Found]:
    """How napari would show each channel of the image."""
    from napari_ome_zarr import napari_get_reader

    for _, how, kind in napari_get_reader(str(path))(str(path)):
        if kind == "image":
            colours = how["colormap"].colors[:, :3].tolist()
            yield {"colours": colours, "limits": list(how["contrast_limits"]), "is_visible": how["visible"]}


def ngff_zarr(path: Path) -> Iterator[Found]:
    """Image and labels, all levels."""
    from ngff_zarr import from_ngff_zarr

    for place in (path, *sorted(one.parent for one in path.glob("labels/*/0"))):
        for number, level in enumerate(from_ngff_zarr(str(place)).images):
            scale, begin = ([said[axis] for axis in "zyx"] for said in (level.scale, level.translation))
            yield found(f"{place.name}/{number}", level.data, "".join(level.dims), scale, begin)


def bioio(path: Path) -> Iterator[Found]:
    """All levels of the image, as bioio finds a reader for it by itself; one channel as (z, y, x)."""
    from bioio import BioImage

    image = BioImage(path)
    for level in image.resolution_levels:
        image.set_resolution_level(level)
        size = image.physical_pixel_sizes
        axes = "CZYX" if image.dims.C > 1 else "ZYX"
        yield found(f"{path.name}/{level}", image.get_image_data(axes), axes.lower(), [size.Z, size.Y, size.X])


def tensorstore(path: Path) -> Iterator[Found]:
    """Arrays of an OME-Zarr, whose places stand beside them, or the levels of a precomputed volume."""
    import tensorstore as ts

    if path.suffix == ".precomputed":
        spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{path}/"}}
        for number in range(len(json.loads((path / "info").read_text())["scales"])):
            level = ts.open({**spec, "scale_index": number}).result()[..., 0]
            scale = [unit.multiplier for unit in level.dimension_units[::-1]]
            begin = [first * size for first, size in zip(level.domain.origin[::-1], scale, strict=True)]
            yield found(f"{path.name}/{number}", level.read().result().transpose(), "zyx", scale, begin)
        return
    for place in sorted((*path.glob("[0-9]"), *path.glob("labels/*/[0-9]"))):
        driver = "zarr3" if (place / "zarr.json").exists() else "zarr"
        level = ts.open({"driver": driver, "kvstore": {"driver": "file", "path": f"{place}/"}}).result()
        yield found(f"{place.parent.name}/{place.name}", level.read().result(), "czyx"[-level.rank :], [])


def cloud_volume(path: Path) -> Iterator[Found]:
    """Levels of a precomputed volume as (z, y, x), and how large the surfaces of its segments are."""
    from cloudvolume import CloudVolume

    finest = CloudVolume(f"file://{path}", progress=False)
    for number in finest.available_mips:
        level = CloudVolume(f"file://{path}", mip=number, progress=False)
        values = np.asarray(level[:])[..., 0].transpose()
        begin = (np.array(level.voxel_offset) * np.array(level.resolution))[::-1]
        yield found(f"{path.name}/{number}", values, "zyx", level.resolution[::-1], begin)
    numbers = [int(number) for number in np.unique(np.asarray(finest[:])) if number]
    surfaces = finest.mesh.get(numbers, fuse=False)
    boxes = {
        str(number): [mesh.vertices.min(0).tolist(), mesh.vertices.max(0).tolist()] for number, mesh in surfaces.items()
    }
    yield {"name": "surfaces", "boxes": boxes}


def tifffile(path: Path) -> Iterator[Found]:
    """The one series of a TIFF, with the voxel size of its OME-XML in nanometres."""
    import tifffile as tiff

    with tiff.TiffFile(path) as file:
        (series,) = file.series
        pixels = tiff.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        sizes = [pixels[f"PhysicalSize{axis}"] for axis in "ZYX"]
        yield found(f"{path.name}/0", series.asarray(), series.axes.lower(), sizes) | {
            "units": [pixels.get(f"PhysicalSize{axis}Unit") for axis in "ZYX"]
        }


def ome_zarr_models(path: Path) -> Iterator[Found]:
    """Nothing but the name of the model that image and labels are valid by; raises where they are not."""
    import zarr
    from ome_zarr_models import open_ome_zarr

    group = zarr.open_group(path, mode="r")
    for place in ("", *(f"labels/{name}" for name in sorted(group["labels"].group_keys()))):
        valid = open_ome_zarr(group[place] if place else group)
        yield {"name": place, "model": type(valid).__name__, "version": valid.ome_zarr_version}


def yaozarrs(path: Path) -> Iterator[Found]:
    """Nothing; raises where something is not valid."""
    from yaozarrs import validate_zarr_store

    validate_zarr_store(str(path))
    yield {"name": ""}


READERS: dict[str, Callable[[Path], Iterator[Found]]] = {
    "ome-zarr-py": ome_zarr_py,
    "napari-ome-zarr": napari_ome_zarr,
    "ome-zarr-py colours": ome_zarr_py_colours,
    "napari-ome-zarr colours": napari_ome_zarr_colours,
    "ngff-zarr": ngff_zarr,
    "bioio": bioio,
    "tensorstore": tensorstore,
    "cloud-volume": cloud_volume,
    "tifffile": tifffile,
    "ome-zarr-models": ome_zarr_models,
    "yaozarrs": yaozarrs,
}

if __name__ == "__main__":
    # Readers print on their way, and only what is last is wanted.
    with contextlib.redirect_stdout(sys.stderr):
        opened = list(READERS[sys.argv[1]](Path(sys.argv[2])))
    sys.stdout.write(json.dumps(opened) + "\n")
