"""A TIFF for each image of a folder that was imported as one stack: its segments, of its size and under its name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.files.whole import PARTIAL
from blockwise.grid import Block, as_voxels
from blockwise.store.base import Store
from contraband.importing.sections import SectionImage, images_in
from contraband.volumes.export.images import Image
from contraband.volumes.export.tiff import IntoTiff, place_of_voxels, write_box
from contraband.volumes.settings import VolumeSettings


class WriteImages(IntoTiff):
    """Write the blocks of a stack to their places in the files of its images, which are there as a whole before.

    An object has the same number in all files and tables: 1 to n over the whole stack.
    """

    name = "export/images"

    images: tuple[SectionImage, ...]
    """Of the sections, in their order; `target` is the folder of their files."""

    def parameters(self) -> dict[str, object]:
        return {**super().parameters(), "images": [[one.name, one.height, one.width] for one in self.images]}

    def prepare(self, store: Store) -> None:
        super().prepare(store)
        self.target.mkdir(parents=True, exist_ok=True)
        for one in self.images:
            if not self._file(one).exists():
                self._allocate(one)

    def process(self, block: Block, store: Store) -> None:
        begin_z, begin_y, begin_x = block.write_roi.begin
        for z, one in enumerate(self.images[begin_z : block.write_roi.end[0]], start=begin_z):
            size = min(one.height, block.write_roi.end[1]) - begin_y, min(one.width, block.write_roi.end[2]) - begin_x
            if min(size) <= 0:
                continue  # all padding
            data = self.numbered(Roi((z, begin_y, begin_x), (1, *size)))
            first, dtype = place_of_voxels(self._file(one))
            place = as_voxels((0, begin_y, begin_x))
            write_box(self._file(one), first, (1, one.height, one.width), place, data.astype(dtype))

    def _file(self, one: SectionImage) -> Path:
        return self.target / f"{file_stem(one)}.tif"

    def _allocate(self, one: SectionImage) -> None:
        """Make a file with its header and room for the voxels."""
        import tifffile

        partial = self.target / f"{file_stem(one)}.tif{PARTIAL}"
        found = info(self.origin)
        size_y, size_x = found.voxel_size[1:]
        unit = "µm" if found.units[0] == "um" else found.units[0] if found.units[0] != "vx" else "pixel"
        about = {"axes": "YX", "PhysicalSizeY": size_y, "PhysicalSizeX": size_x}
        about |= {"PhysicalSizeYUnit": unit, "PhysicalSizeXUnit": unit}
        shape = (one.height, one.width)
        tifffile.imwrite(partial, shape=shape, dtype=self.dtype, photometric="minisblack", ome=True, metadata=about)
        os.replace(partial, self._file(one))


def file_stem(one: SectionImage) -> str:
    """What the file of an image is called, without `.tif`: as the image was, without the ending of a format."""
    name = one.name.removesuffix(".ome.tif").removesuffix(".ome.tiff")
    return Path(name).stem if name == one.name else name


def images_of(settings: VolumeSettings, target: Path) -> tuple[SectionImage, ...]:
    """The images whose segments are written into a folder; raises BadInput where raw is no stack of images."""
    raw = settings.volume.raw
    images = images_in(info(Volume(path=raw)).attributes) if raw is not None else ()
    if not images:
        todo = "a folder gets a TIFF for each image, where `contraband start` began with a folder of images"
        raise BadInput(
            target, "does not say a format", wanted="a name that ends in .zarr, .tif or .precomputed", todo=todo
        )
    stems = [file_stem(one) for one in images]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise BadInput(target, "two images have one name", got=twice, todo="rename one, and begin again")
    return images


def images_stage(settings: VolumeSettings, target: Path, scratch: Path, image: Image) -> WriteImages:
    """The stage that writes the segments of each image."""
    found = image.described
    shape = zip(settings.blocks.shape, found.spatial, strict=True)
    return WriteImages(
        origin=image.volume,
        origin_made=image.made,
        target=target,
        images=images_of(settings, target),
        dtype=np.dtype(image.dtype).name,
        block=as_voxels(min(step, size) for step, size in shape),
        renumbering=image.renumbering(scratch),
    )
