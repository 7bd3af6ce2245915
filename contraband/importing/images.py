"""Images of photographs and the web, PNG and JPEG above all, as plain numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.space import Said, Space
from blockwise.errors import BadInput
from contraband.importing.source import ForeignArray, Wanted
from contraband.importing.tiff_space import OF_PALETTE, turned

DEEP_COLOURS = {2: 3, 4: 2, 6: 4}
"""PNG's numbers for kinds of pixels that hold more than one number, and how many these hold."""
BAND_PX = 1 << 22
"""Pixels that are taken over from Pillow at once."""
PLAIN: dict[str, tuple[str, int]] = {
    "1": ("bool", 1),
    "L": ("uint8", 1),
    "P": ("uint8", 1),
    "LA": ("uint8", 2),
    "RGB": ("uint8", 3),
    "RGBA": ("uint8", 4),
    "CMYK": ("uint8", 3),
    "YCbCr": ("uint8", 3),
    "I;16": ("uint16", 1),
    "I": ("int32", 1),
    "F": ("float32", 1),
}
"""Pillow's names for kinds of pixels: the type of the numbers that are read of such an image, and how many a pixel
has."""


@contextmanager
def open_image(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """One image as a section, (y, x) or (y, x, colour)."""
    wanted.only(path)
    data, remarks = read_image(path)
    held = [data]
    axes = Said(("y", "x", "c")[: data.ndim], "the image")
    try:
        yield ForeignArray(
            data.shape,
            data.dtype,
            lambda slices: held[0][slices],
            Space(axes),
            remarks=remarks,
            has_colours=data.ndim == 3,
            is_lossy=is_jpeg(path),
        )
    finally:
        # Who still knows the array knows its shape and type; a large image is not kept for that during a run.
        held.clear()


def is_jpeg(path: Path) -> bool:
    """Whether an image is packed by JPEG."""
    with path.open("rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def read_image(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels, (y, x) or (y, x, colour), and remarks; raises BadInput for a file that is damaged or a film."""
    from PIL import ExifTags, Image, UnidentifiedImageError

    if _deep_colours(path):
        from imagecodecs import png_decode  # Pillow keeps 8 of 16 bits per colour

        return np.asarray(png_decode(path.read_bytes())), ()
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # sections of 20,000 x 20,000 are no attack
    try:
        with Image.open(path) as image:
            count = getattr(image, "n_frames", 1)
            if count > 1:
                raise BadInput(path, "holds several images", got=count, wanted="one", todo="save each alone")
            turn = int(image.getexif().get(ExifTags.Base.Orientation, 1))
            remarks = (turned(turn),) if turn != 1 else ()
            if image.mode == "P":
                numbers, note = _of_palette(image)
                return numbers, (*remarks, *note)
            if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
                return np.asarray(image.convert("RGB")), remarks
            return _pixels(image), remarks
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BadInput(path, f"cannot be read ({error})", todo="copy or export the file again") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _pixels(image: Any) -> np.ndarray:
    """The pixels of a Pillow image. Of a large one in bands: at once, Pillow makes two more copies on the way."""
    width, height = image.size
    rows = max(1, BAND_PX // width)
    if rows >= height:
        return np.asarray(image)
    bands = (np.asarray(image.crop((0, begin, width, min(begin + rows, height)))) for begin in range(0, height, rows))
    first = next(bands)
    pixels = np.empty((height, *first.shape[1:]), first.dtype)
    pixels[:rows] = first
    for number, band in enumerate(bands, start=1):
        pixels[number * rows : number * rows + len(band)] = band
    return pixels


def head_of_image(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the pixels that `read_image` gives, by the header alone where that says it."""
    from PIL import Image, UnidentifiedImageError

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            mode, (width, height) = image.mode, image.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise BadInput(path, f"cannot be read ({error})", todo="copy or export the file again") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if (deep := _deep_colours(path)) or mode in PLAIN:
        name, count = ("uint16", deep) if deep else PLAIN[mode]
        return ((height, width, count) if count > 1 else (height, width)), np.dtype(name)
    data, _ = read_image(path)
    return data.shape, data.dtype


def _of_palette(image: object) -> tuple[np.ndarray, tuple[str, ...]]:
    """Greys of a palette, or the numbers in it where it holds colours: those of labels."""
    numbers = np.asarray(image)
    flat = image.getpalette() or []  # type: ignore[attr-defined]
    palette = np.array(flat, np.uint8).reshape(-1, 3)
    used = palette[: int(numbers.max(initial=0)) + 1]
    if (used == used[:, :1]).all() and len(used) > int(numbers.max(initial=0)):
        return palette[:, 0][numbers], ()
    return numbers, (OF_PALETTE,)


def _deep_colours(path: Path) -> int:
    """How many numbers a pixel has in a PNG file with 16 bits for each of several; 0 for any other file."""
    with path.open("rb") as file:
        head = file.read(26)
    is_deep = head[:4] == b"\x89PNG" and len(head) == 26 and head[24] == 16
    return DEEP_COLOURS.get(head[25], 0) if is_deep else 0
