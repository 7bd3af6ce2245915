"""TIFF files: ImageJ, OME, LSM and plain ones, in the order that their headers give, of one file or several."""

from __future__ import annotations

import logging
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from blockwise.arrays.space import Said, Space
from blockwise.errors import BadInput
from contraband.importing.source import ForeignArray, Slices, Wanted
from contraband.importing.tiff_space import has_colours, remarks_on, space_of

Series = Any
"""A `tifffile.TiffPageSeries`: images of one size and kind."""
LARGE_BYTES = 64 << 20
"""A packed image is unpacked as a whole up to this size."""
BUFFER_BYTES = 4 << 20
"""Packed bytes of a larger one that are unpacked at once."""
DAMAGES = (ValueError, RuntimeError, IndexError, KeyError, struct.error, zlib.error, tifffile.TiffFileError)
"""What tifffile raises of files that are damaged."""


@contextmanager
def open_tiff(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """One series of images of a TIFF file, mapped into memory where it is stored in one piece."""
    wanted.only(path, "series", "level")
    with complete(path):
        file = tifffile.TiffFile(path)
    with file:
        with complete(path):
            series, number = _chosen(path, file, wanted)
            level = _level(path, series, wanted.level or 0)
            space, remarks = space_of(file, series, level, number)
            read = _reader(path, level, wanted.scratch)
        is_lossy = level.keyframe.compression in (tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.JPEG)
        colours = has_colours(level)
        yield ForeignArray(
            level.shape, level.dtype, read, space, remarks=remarks, has_colours=colours, is_lossy=is_lossy
        )


def _chosen(path: Path, file: tifffile.TiffFile, wanted: Wanted) -> tuple[Series, int]:
    """The series that is meant, and its number; raises BadInput with all of them if that is not clear."""
    found = list(file.series)
    len(file.pages)  # reads the directory of every image, so that a file that ends early is noticed here
    listed = ", ".join(
        f"{number}: {'x'.join(map(str, one.shape))} {one.dtype}" for number, one in enumerate(found[:12])
    )
    if not found:
        raise BadInput(path, "holds no image")
    if wanted.series is None and len(found) > 1 and found[0].kind != "lsm":  # whose others are previews
        raise BadInput(path, "holds several series of images", got="no --series", wanted=f"one of {listed}")
    number = wanted.series or 0
    if not 0 <= number < len(found):
        raise BadInput(path, "no such series", got=number, wanted=f"one of {listed}", todo="correct --series")
    return found[number], number


def _level(path: Path, series: Series, level: int) -> Series:
    if not 0 <= level < len(series.levels):
        levels = f"0 to {len(series.levels) - 1}"
        raise BadInput(path, "no such level of the image", got=level, wanted=levels, todo="correct --level")
    return series.levels[level]


def _reader(path: Path, series: Series, scratch: Path) -> Callable[[Slices], np.ndarray]:
    """Reads any part of a series, one image after the other; raises BadInput if one of its files is missing."""
    if series.dataoffset is not None and series.keyframe.is_memmappable and not series.is_multifile:
        return _mapped(path, series).__getitem__
    images = list(series) if len(series) > 1 else [series.keyframe]
    if absent := [number for number, image in enumerate(images) if image is None]:
        raise BadInput(
            path,
            "images are missing: the header names files that are not there",
            got=f"{len(absent)} of {len(images)}, the first is number {absent[0]}",
            todo="copy all files of the series into one folder",
        )
    leading = series.shape[: len(series.shape) - len(series.keyframe.shape)]
    if math.prod(leading) != len(images) or series.transform is not None:
        with complete(path):
            # Some formats store an image in an order of their own: read in one go, onto the disk.
            whole = series.asarray(out=str(scratch / "series.raw"))
        return np.asarray(whole).__getitem__

    if not leading and series.nbytes > LARGE_BYTES and images[0].keyframe.shaped[:2] == (1, 1):
        return _by_segments(path, images[0])

    def section(number: int) -> np.ndarray:
        image = images[number]
        with complete(path), _opened(image.parent.filehandle):
            return np.asarray(image.asarray())

    return paged(leading, section)


def _by_segments(path: Path, image: Any) -> Callable[[Slices], np.ndarray]:
    """A reader for one large image, (y, x) or (y, x, sample), that unpacks a few of its tiles or strips at once."""

    def read(slices: Slices) -> np.ndarray:
        rows, columns, *samples = slices
        keyframe = image.keyframe
        shape = (rows.stop - rows.start, columns.stop - columns.start, keyframe.shaped[4])
        result = np.full(shape, keyframe.nodata, keyframe.dtype)
        with complete(path), _opened(image.parent.filehandle):
            for segment, (_, _, y, x, _) in _segments(image, rows, columns):
                if segment is None:
                    continue  # nothing was written there
                top, bottom = max(rows.start, y), min(rows.stop, y + segment.shape[1])
                left, right = max(columns.start, x), min(columns.stop, x + segment.shape[2])
                if top < bottom and left < right:
                    piece = segment[0, top - y : bottom - y, left - x : right - x]
                    into = (
                        slice(top - rows.start, bottom - rows.start),
                        slice(left - columns.start, right - columns.start),
                    )
                    result[into] = piece
        return result[..., samples[0]] if samples else result[..., 0]

    return read


def _segments(image: Any, rows: slice, columns: slice) -> Iterator[tuple[np.ndarray | None, tuple[int, ...]]]:
    """The tiles or strips that meet a rectangle, unpacked, and where they lie; the others are not even read."""
    keyframe = image.keyframe
    height, width = keyframe.chunks[:2]
    across = -(-keyframe.shaped[3] // width)
    lines = range(rows.start // height, -(-rows.stop // height))
    stacked = range(columns.start // width, -(-columns.stop // width))
    chosen = [line * across + place for line in lines for place in stacked]
    offsets, counts = ([said[index] for index in chosen] for said in (image.dataoffsets, image.databytecounts))
    packed = image.parent.filehandle.read_segments(offsets, counts, indices=chosen, buffersize=BUFFER_BYTES)
    for data, index in packed:
        segment, place, _ = keyframe.decode(data, index, jpegtables=image.jpegtables, jpegheader=keyframe.jpegheader)
        yield segment, place


@contextmanager
def _opened(handle: Any) -> Iterator[None]:
    """A file of a series, which tifffile has closed after a look at its header."""
    was_closed = handle.closed
    if was_closed:
        handle.open()
    try:
        yield
    finally:
        if was_closed:
            handle.close()


def _mapped(path: Path, series: Series) -> np.ndarray:
    """The array as it lies in the file; raises BadInput if the file ends before it does."""
    dtype = np.dtype(series.keyframe.parent.byteorder + series.dtype.char)
    try:
        return np.memmap(path, dtype, "r", offset=series.dataoffset, shape=series.shape)
    except ValueError as error:
        raise BadInput(path, f"is damaged ({error})", todo="copy or export the file again") from None


def space_in_plane(path: Path) -> Space:
    """What a file with one section says of y and x."""
    with complete(path), tifffile.TiffFile(path) as file:
        series = file.series[0]
        space, _ = space_of(file, series, series, 0)
    said = space.voxel_size
    if said is None:
        return Space()
    size = {axis: value for axis, value in said.value.items() if axis != "z"}
    return Space(voxel_size=Said(size, f"{said.where} of the first section"), units=space.units)


def one_image(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Everything in a small TIFF file, and remarks for the user."""
    with complete(path), tifffile.TiffFile(path) as file:
        return np.asarray(file.asarray()), remarks_on(file.series[0].keyframe)


@contextmanager
def complete(path: Path) -> Iterator[None]:
    """Raise BadInput for a damaged TIFF file, of which tifffile reads what is left and only logs the rest."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    # Its warnings are about files that we refuse ourselves, or about what does not matter.
    before, logger.propagate = logger.propagate, False
    try:
        yield
    except DAMAGES as error:
        raise BadInput(path, f"cannot be read ({error})", todo="export the file again") from None
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
    if complaints:
        raise BadInput(path, f"is damaged ({complaints[0]})", todo="copy or export the file again")


def paged(leading: tuple[int, ...], page: Callable[[int], np.ndarray]) -> Callable[[Slices], np.ndarray]:
    """A reader for an array that is stored as `page(0)`, `page(1)`, ... along its leading axes."""
    numbers = np.arange(math.prod(leading)).reshape(leading)

    def read(slices: Slices) -> np.ndarray:
        wanted = numbers[slices[: len(leading)]]
        pages = [page(int(number))[slices[len(leading) :]] for number in wanted.ravel()]
        return np.stack(pages).reshape(*wanted.shape, *pages[0].shape)

    return read
