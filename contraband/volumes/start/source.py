"""The image that a user begins with: a file of any format, or a zarr array that can be used where it is."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from funlib.geometry import Roi

from blockwise.arrays.ngff import images_of, level_at
from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import BadInput
from blockwise.files.address import address_in
from blockwise.grid import Voxels, as_voxels
from contraband.importing.axes import MAX_CHANNELS, channels_in
from contraband.importing.formats import ZARR, is_folder_of_images, open_foreign
from contraband.importing.options import ImportOptions
from contraband.importing.plan import ImportPlan
from contraband.importing.sections import SectionImage, images_in, is_padded
from contraband.importing.source import ForeignArray, Wanted

ASSUMED = "assumed"
LARGE_PLANE_VX = 2048 * 2048
"""Voxels of a single image, or of the largest of several, above which images are stored one by one, in large files."""
ONE_SECTION = (1, 512, 512)
"""Voxels of such a file."""


@dataclass(frozen=True)
class OpenedImage:
    """An image as it will be segmented, readable before anything is written."""

    shape: tuple[int, ...]
    """([channel,] z, y, x)."""
    dtype: np.dtype[Any]
    voxel_size: Voxels | tuple[float, ...]
    is_size_known: bool
    """Whether the file, or the user, says how large voxels are."""
    said: dict[str, str]
    """What is known, and who says it, in lines for the user."""
    read: Callable[[Voxels, Voxels], np.ndarray]
    """The voxels between two corners."""
    in_place: Path | None = None
    """The array that is used where it is; None: it has to be imported."""
    options: dict[str, Any] = field(default_factory=dict)
    """How it has to be imported."""
    remarks: tuple[str, ...] = ()
    images: tuple[SectionImage, ...] = ()
    """The images that its sections are, if it is a folder of them."""

    @property
    def is_padded(self) -> bool:
        """Whether its images have different sizes."""
        return is_padded(self.images)

    @property
    def spatial(self) -> Voxels:
        """Shape along z, y, x."""
        return as_voxels(self.shape[-3:])

    @property
    def channels(self) -> int | None:
        """How many channels there are; None without a channel axis."""
        return self.shape[0] if len(self.shape) == 4 else None

    @property
    def voxels(self) -> int:
        """Of one channel."""
        return math.prod(self.spatial)


@contextmanager
def opened(path: Path, options: dict[str, Any]) -> Iterator[OpenedImage]:
    """The image of a file or folder; raises BadInput naming what is wrong with it."""
    if address := address_in(path):
        raise BadInput(address, "is an address, and images must be on a local disk", todo="download it first")
    place = _usable(path) if not options else None
    if place is not None:
        yield _stored(place)
        return
    if is_folder_of_images(path):
        options = {**options, "pad": True}
    with tempfile.TemporaryDirectory(prefix="start-") as scratch:
        chosen = ImportOptions.parse(options, "start")
        wanted = Wanted(chosen.name, chosen.series, chosen.level, Path(scratch), chosen.padding)
        with open_foreign(path, wanted) as source:
            plan, options = _with_channels(path, source, options)
            images = images_in(plan.attributes)
            if math.prod(plan.spatial[1:]) > LARGE_PLANE_VX and (plan.spatial[0] == 1 or is_padded(images)):
                options = {**options, "block": ONE_SECTION}  # else each slab would unpack many images of a folder again
            said = plan.attributes["source"]["said"]
            yield OpenedImage(
                plan.shape,
                np.dtype(plan.conversion.dtype),
                tuple(plan.attributes["voxel_size"]),
                ASSUMED not in said["voxel size"],
                said,
                plan.read,
                options=options,
                remarks=plan.remarks,
                images=images,
            )


def _with_channels(path: Path, source: ForeignArray, options: dict[str, Any]) -> tuple[ImportPlan, dict[str, Any]]:
    """How the array is imported with all its channels; colours that are all the same are grey.

    What says how opaque a voxel is is left out.
    """
    chosen = ImportOptions.parse(options, "start")
    count = channels_in(path, source, chosen)
    if source.has_colours and _is_grey(path, source, chosen):
        return ImportPlan(path, source, chosen), options
    if source.has_colours:
        count = {2: 1, 4: 3}.get(count, count)
    if 1 < count <= MAX_CHANNELS:
        options = {**options, "channel": tuple(range(count))}
    return ImportPlan(path, source, ImportOptions.parse(options, "start")), options


def _is_grey(path: Path, source: ForeignArray, chosen: ImportOptions) -> bool:
    try:
        ImportPlan(path, source, chosen)
    except BadInput:
        return False
    return True


def _usable(path: Path) -> Path | None:
    """The array of a zarr folder that can be used as it is: the folder itself, or the finest level of its image."""
    if not path.is_dir() or not any((path / name).exists() for name in ZARR):
        return None
    try:
        group = zarr.open_group(path, mode="r", use_consolidated=False)
        images = images_of(dict(group.attrs))
        place = path / level_at(images[0], path, 0) if len(images) == 1 else path
    except Exception:  # an array by itself, or nothing that zarr reads
        place = path
    try:
        found = info(Volume(path=place))
    except BadInput:
        return None  # with a time axis, in another order: an import knows what to do
    return place if found.dtype.kind in "buif" and not found.offsets else None


def _stored(place: Path) -> OpenedImage:
    volume = Volume(path=place)
    found = info(volume)
    said = found.attributes.get("source", {}).get("said") or {
        "axes": f"{', '.join(found.axis_names)} from the array",
        "voxel size": f"{', '.join(f'{one:.6g}' for one in found.voxel_size)} {found.units[0]} from the array",
    }

    def between(low: Voxels, high: Voxels) -> np.ndarray:
        return read(volume, Roi(low, [end - begin for begin, end in zip(low, high, strict=True)]))

    is_known = ASSUMED not in said.get("voxel size", "") and set(found.voxel_size) != {1.0}
    images = images_in(found.attributes)
    return OpenedImage(
        found.shape, found.dtype, found.voxel_size, is_known, dict(said), between, in_place=place, images=images
    )
