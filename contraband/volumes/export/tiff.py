"""TIFF: segments as 1 to n in one file that other programs read without a plug-in, written block by block."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.info import Info
from blockwise.arrays.units import VOXELS
from blockwise.arrays.volume import Volume, info, read
from blockwise.files.whole import PARTIAL
from blockwise.grid import Block, Grid, Voxels, as_voxels
from blockwise.stage import Stage
from blockwise.stages.shrink import Renumbering, renumbered
from blockwise.store.base import Store
from contraband.volumes.export.images import Image

MOST_OF_IMAGEJ = 4 << 30
"""Bytes that ImageJ's own header can describe."""
OME_UNITS = {"um": "µm", VOXELS: "pixel"}
IMAGEJ_UNITS = {VOXELS: "pixel"}


class IntoTiff(Stage):
    """What the stages have in common that write a volume into TIFF files."""

    needs = ()

    origin: Volume
    origin_made: str
    """The fingerprint of the stage that made it."""
    target: Path
    dtype: str
    block: Voxels
    renumbering: Renumbering | None

    def grid(self) -> Grid:
        return Grid(self.name, info(self.origin).spatial, self.block)

    def inputs(self) -> tuple[Volume, ...]:
        return (self.origin,)

    def parameters(self) -> dict[str, object]:
        threshold = None if self.renumbering is None else self.renumbering.threshold
        return {"origin_made": self.origin_made, "dtype": self.dtype, "renumbering": threshold}

    def prepare(self, store: Store) -> None:
        if self.renumbering is not None:
            self.renumbering.keep()

    def numbered(self, roi: Roi) -> np.ndarray:
        """The voxels of a region, under the numbers that are written."""
        data = read(self.origin, roi)
        return data if self.renumbering is None else renumbered(data, self.renumbering.file)


class WriteTiff(IntoTiff):
    """Write the blocks of a volume to their places in an uncompressed file, which is there as a whole before."""

    name = "export/tiff"

    kind: Literal["imagej", "ome"]

    def parameters(self) -> dict[str, object]:
        return {**super().parameters(), "kind": self.kind}

    def prepare(self, store: Store) -> None:
        super().prepare(store)
        if not self.target.exists():
            self._allocate()

    def _allocate(self) -> None:
        """Make the file with its headers and room for the voxels."""
        import tifffile

        self.target.parent.mkdir(parents=True, exist_ok=True)
        partial = self.target.with_name(self.target.name + PARTIAL)
        found = info(self.origin)
        header = imagej_header(found) if self.kind == "imagej" else ome_header(found)
        tifffile.imwrite(partial, shape=found.spatial, dtype=self.dtype, photometric="minisblack", **header)
        os.replace(partial, self.target)

    def process(self, block: Block, store: Store) -> None:
        data = self.numbered(block.write_roi)
        begin, dtype = place_of_voxels(self.target)
        write_box(self.target, begin, self.grid().volume, as_voxels(block.write_roi.begin), data.astype(dtype))


def tiff_stage(target: Path, scratch: Path, image: Image, block: Voxels) -> WriteTiff:
    """The stage that writes one image; ImageJ's header where it can describe it, else that of OME."""
    found = image.described
    nbytes = math.prod(found.spatial) * np.dtype(image.dtype).itemsize
    fits = image.dtype in ("uint8", "uint16") and nbytes < MOST_OF_IMAGEJ
    is_ome = target.name.endswith((".ome.tif", ".ome.tiff"))
    return WriteTiff(
        origin=image.volume,
        origin_made=image.made,
        target=target,
        dtype=image.dtype,
        block=as_voxels(min(step, size) for step, size in zip(block, found.spatial, strict=True)),
        kind="imagej" if fits and not is_ome else "ome",
        renumbering=image.renumbering(scratch),
    )


def imagej_header(found: Info) -> dict[str, Any]:
    """Calibration as ImageJ keeps it: pixels per unit in the tags, the rest in its text."""
    size_z, size_y, size_x = found.voxel_size
    metadata: dict[str, Any] = {
        "axes": "ZYX",
        "spacing": size_z,
        "unit": IMAGEJ_UNITS.get(found.units[0], found.units[0]),
    }
    for axis, at, size in zip("zyx", found.offset, found.voxel_size, strict=True):
        if at:
            metadata[f"{axis}origin"] = -at / size  # in voxels: a place is (number - origin) * size
    return {"imagej": True, "resolution": (1 / size_x, 1 / size_y), "metadata": metadata}


def ome_header(found: Info) -> dict[str, Any]:
    """Calibration as OME keeps it."""
    metadata: dict[str, Any] = {"axes": "ZYX"}
    for axis, size in zip("ZYX", found.voxel_size, strict=True):
        metadata[f"PhysicalSize{axis}"] = size
        metadata[f"PhysicalSize{axis}Unit"] = OME_UNITS.get(found.units[0], found.units[0])
    return {"ome": True, "metadata": metadata}


def place_of_voxels(path: Path) -> tuple[int, np.dtype[Any]]:
    """Where the voxels begin in the file, and their type there; they lie in one piece."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert page.dtype is not None
        return int(page.dataoffsets[0]), page.dtype.newbyteorder(file.byteorder)


def write_box(path: Path, begin: int, shape: Voxels, place: Voxels, data: np.ndarray) -> None:
    """Overwrite a box of an array of `shape` that begins at byte `begin` of the file; it is on the disk afterwards."""
    rows = np.ascontiguousarray(data)
    whole_rows = rows.shape[2] == shape[2]
    handle = os.open(path, os.O_WRONLY)
    try:
        for z, section in enumerate(rows, start=place[0]):
            pieces = [section] if whole_rows else section
            for y, piece in enumerate(pieces, start=place[1]):
                first = (z * shape[1] + y) * shape[2] + place[2]
                os.pwrite(handle, piece.tobytes(), begin + first * rows.itemsize)
        os.fsync(handle)
    finally:
        os.close(handle)
