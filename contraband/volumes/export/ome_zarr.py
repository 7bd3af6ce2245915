"""OME-Zarr 0.4 and 0.5: raw as the image, segments under `labels/`, each with its pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zarr

from blockwise.arrays.ome import multiscale
from blockwise.arrays.pyramid import OmeVersion
from blockwise.grid import Voxels
from blockwise.stage import Stage
from contraband.volumes.export.colours import described_channels
from contraband.volumes.export.images import Image


def ome_stages(made: Path, scratch: Path, images: Sequence[Image], block: Voxels, version: OmeVersion) -> list[Stage]:
    """The stages that write the levels of all images."""
    return [stage for image in images for stage in image.stages(_folder(made, image), scratch, block, version)]


def describe_images(made: Path, images: Sequence[Image], version: OmeVersion) -> None:
    """Write the metadata of the image and of its labels, once all levels are there; harmless when repeated."""
    segments = [image for image in images if image.by == "majority"]
    _describe(made, {}, version)
    for image in images:
        said: dict[str, Any] = {"multiscales": [_multiscale(image, version)]}
        if image in segments:
            # Where there is no raw, the image that they are of is not there to be named.
            source = {"source": {"image": "../../"}} if len(segments) < len(images) else {}
            said["image-label"] = source if version == "0.5" else {"version": version, **source}
        else:
            said["omero"] = described_channels(made, image.levels, image.described.channels)
        _describe(_folder(made, image), said, version)
    if segments:
        _describe(made / "labels", {"labels": [image.name for image in segments]}, version)


def _folder(made: Path, image: Image) -> Path:
    """Where the levels of an image lie."""
    return made / "labels" / image.name if image.by == "majority" else made


def _multiscale(image: Image, version: OmeVersion) -> dict[str, Any]:
    found = image.described
    levels = [
        (str(number), [size * by for size, by in zip(found.voxel_size, level.factor, strict=True)], found.offset)
        for number, level in enumerate(image.levels)
    ]
    names = (*("channel",) * (len(found.shape) - 3), "z", "y", "x")
    entry = {"name": image.name, **multiscale(names, found.units, levels), "type": image.by}
    return entry if version == "0.5" else {"version": version, **entry}


def _describe(folder: Path, said: dict[str, Any], version: OmeVersion) -> None:
    """Make the group, and give it these attributes."""
    if version == "0.4":
        zarr.open_group(folder, mode="a", zarr_format=2).attrs.update(said)
        return
    group = zarr.open_group(folder, mode="a", zarr_format=3)
    if said:
        group.attrs["ome"] = {"version": version, **said}
