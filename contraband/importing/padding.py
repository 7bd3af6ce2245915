"""Images of different sizes as the sections of one stack: each is padded at its ends, up to the largest.

What is beside an image is its own mirror image for some voxels, as beyond the border of a volume, so that whoever looks
around a voxel near the end of an image sees what it would see of the image alone. Farther away all is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from blockwise.arrays.volume import Volume, create, info, open_array
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from contraband.importing.images import head_of_image
from contraband.importing.sections import SectionImage, images_in
from contraband.importing.staging import publish, unfinished
from contraband.importing.tiff import complete

Padding = Literal["mirror", "zero"]

MIRRORED_VX = 256
"""So far an image is mirrored; what predicts looks less far around a voxel."""
SPARE_VX = 64
"""Where an image ends nearer than this to the end of the largest, the stack goes on for as much: what looks this far
around a voxel then sees the image mirrored, and not the end of the stack, at which that would be mirrored again."""
MOSTLY = 0.75
"""Share of a stack that is padding from which on the user is told."""


@dataclass(frozen=True)
class ImageHead:
    """What the header of an image says."""

    shape: tuple[int, ...]
    """(y, x), or (y, x, colour)."""
    dtype: np.dtype[Any]

    def kind_in_words(self) -> str:
        """All but its size."""
        count = self.shape[2] if len(self.shape) > 2 else 1
        return f"{'grey' if count == 1 else f'{count} channels'}, {self.dtype.name}"


def heads_of(files: Sequence[Path], kind: str) -> list[ImageHead]:
    """What the headers of all images say; raises BadInput at the first that differs in more than its size.

    kind: of all files, `tiff` or `image`.
    """
    heads = [_head(file, kind) for file in files]
    wanted = heads[0].kind_in_words()
    for file, head in zip(files, heads, strict=True):
        if len(head.shape) not in (2, 3) or (len(head.shape) == 3 and head.shape[2] not in (2, 3, 4)):
            raise BadInput(file, "is not one image", got=head.shape, wanted="(y, x), or colours last")
        if head.kind_in_words() != wanted:
            raise BadInput(
                file,
                f"is of another kind than {files[0].name}",
                got=head.kind_in_words(),
                wanted=wanted,
                todo="convert it, or put each kind into a folder of its own",
            )
    return heads


def _head(file: Path, kind: str) -> ImageHead:
    if kind != "tiff":
        return ImageHead(*head_of_image(file))
    with complete(file), tifffile.TiffFile(file) as opened:
        series = opened.series[0]
        return ImageHead(tuple(series.shape), np.dtype(series.dtype))


def window(image: NDArray[Any], rows: slice, columns: slice, padding: Padding) -> NDArray[Any]:
    """A part of an image (y, x, ...) that may reach beyond its end."""
    height, width = image.shape[:2]
    if rows.stop <= height and columns.stop <= width:
        inside: NDArray[Any] = image[rows, columns]
        return inside
    more = MIRRORED_VX if padding == "mirror" else 0
    y = np.pad(np.arange(height), (0, more), mode="reflect")[rows]
    x = np.pad(np.arange(width), (0, more), mode="reflect")[columns]
    result = np.zeros((rows.stop - rows.start, columns.stop - columns.start, *image.shape[2:]), image.dtype)
    if image.ndim == 3 and image.shape[2] in (2, 4):
        result[..., -1] = image[0, 0, -1]  # as opaque as the image, so that a grey image stays one
    result[: len(y), : len(x)] = image[np.ix_(y, x)]
    return result


def extent(sizes: Sequence[int]) -> int:
    """How long a stack of images is along an axis on which they have these sizes."""
    largest = max(sizes)
    near = [size for size in sizes if largest - SPARE_VX < size < largest]
    return largest + SPARE_VX if near else largest


def padding_remarks(images: Sequence[tuple[str, int, int]]) -> tuple[str, ...]:
    """A remark if the stack of these images, (name, height, width), is padding above all."""
    _, heights, widths = zip(*images, strict=True)
    share = 1 - float(np.dot(heights, widths)) / (extent(heights) * extent(widths) * len(images))
    if share <= MOSTLY:
        return ()
    return (f"{share:.0%} of the stack is padding: put small and large images into folders of their own",)


def write_mask(raw: Path, target: Path) -> None:
    """Write which voxels of a padded stack lie in an image, 1 or 0 (uint8), as a volume beside it; all or nothing."""
    found = info(Volume(path=raw))
    images = images_in(found.attributes)
    with unfinished(target) as scratch:
        made = Volume(path=scratch / "volume.zarr" / target.name)
        block = found.unit_of_writing
        create(made, found.spatial, "uint8", block, like=found)
        array = open_array(made, "r+")
        for z in range(0, found.spatial[0], block[0]):
            for y in range(0, found.spatial[1], block[1]):
                band = _band(images[z : z + block[0]], y, min(block[1], found.spatial[1] - y), found.spatial)
                array[z : z + len(band), y : y + band.shape[1]] = band
        publish(made, target)


def _band(images: Sequence[SectionImage], begin: int, rows: int, shape: Voxels) -> NDArray[np.uint8]:
    """(z, y, x): which voxels of some rows lie in the images."""
    band = np.zeros((len(images), rows, shape[2]), np.uint8)
    for section, one in zip(band, images, strict=True):
        section[: max(0, one.height - begin), : one.width] = 1
    return band
