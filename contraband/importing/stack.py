"""A folder with one image per section."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from blockwise.arrays.space import Said, Space
from blockwise.errors import BadInput
from contraband.importing.images import is_jpeg, read_image
from contraband.importing.padding import Padding, extent, heads_of, padding_remarks, window
from contraband.importing.signatures import kind_of
from contraband.importing.source import ForeignArray, Slices, Wanted
from contraband.importing.tiff import one_image, paged, space_in_plane

MOST_SERIES = 4
"""Kinds of names that may be several series in one folder, as images and their masks; more are just names."""


def sections_in(folder: Path) -> dict[str, list[Path]]:
    """The images in a folder by their kind, `tiff` or `image`, in the order of the numbers in their names.

    What is hidden is left out: macOS leaves such files beside those it copies to other disks.
    """
    found: dict[str, list[Path]] = {}
    for file in folder.iterdir():
        if file.name.startswith("."):
            continue
        if file.is_symlink() and not file.exists():
            raise BadInput(file, "is a link to what is not there", got=os.readlink(file), todo="mend or remove it")
        if file.is_file():
            found.setdefault(kind_of(file), []).append(file)
    return {kind: sorted(found[kind], key=by_number) for kind in ("tiff", "image") if kind in found}


@contextmanager
def open_folder(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """A folder with one image per section, in the order of the numbers in their names."""
    wanted.only(path, "pad")
    kind, files = _of_one_kind(path)
    read_one = _reader(kind)
    heads = heads_of(files, kind) if wanted.pad else []
    first, remarks = read_one(files[0])
    if first.ndim not in (2, 3) or (first.ndim == 3 and first.shape[2] not in (1, 2, 3, 4)):
        raise BadInput(files[0], "is not one section", got=first.shape, wanted="(y, x), or colours last")
    if first.ndim == 3 and first.shape[2] == 1:
        raise BadInput(files[0], "is not one grey section", got=first.shape, wanted="(y, x)")

    def section(number: int) -> np.ndarray:
        data, said = read_one(files[number])
        _check_pixels(files[number], data, first, heads[number].shape if heads else first.shape)
        if said != remarks:
            says = [" and ".join(one) or "nothing of the kind" for one in (said, remarks)]
            raise BadInput(files[number], "is not shown as the first section", got=says[0], wanted=says[1])
        return data

    names = ("z", "y", "x", "c")[: first.ndim + 1]
    plane = space_in_plane(files[0]) if kind == "tiff" else Space()
    images = tuple((file.name, head.shape[0], head.shape[1]) for file, head in zip(files, heads, strict=False))
    size = tuple(extent(sizes) for sizes in zip(*(head.shape[:2] for head in heads), strict=True)) or first.shape[:2]
    yield ForeignArray(
        (len(files), *size, *first.shape[2:]),
        first.dtype,
        paged((len(files),), section) if wanted.pad is None else _padded(section, wanted.pad),
        Space(Said(names, "the folder, a section per file")).over(plane),
        remarks=(*remarks, *_doubts(files), *(padding_remarks(images) if images else ())),
        has_colours=first.ndim == 3,
        is_lossy=is_jpeg(files[0]) or is_jpeg(files[-1]),
        images=images,
    )


def _check_pixels(file: Path, data: np.ndarray, first: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise BadInput for a section of another shape, or of another type than the first."""
    if data.shape != shape or data.dtype != first.dtype:
        is_size = data.dtype == first.dtype and data.shape[2:] == first.shape[2:]
        raise BadInput(
            file,
            "differs from the first section",
            got=f"{data.shape} {data.dtype}",
            wanted=f"{shape} {first.dtype}",
            todo="pad images of different sizes to one stack by --pad" if is_size else "",
        )


def _of_one_kind(path: Path) -> tuple[str, list[Path]]:
    """The kind of the images in a folder, and their files; raises BadInput if there are two kinds."""
    kinds = sections_in(path)
    if len(kinds) > 1:
        counts = " and ".join(f"{len(files)} such as {files[0].name}" for files in kinds.values())
        raise BadInput(path, "holds images of two kinds", got=counts, wanted="one", todo="move the others elsewhere")
    ((kind, files),) = kinds.items()
    return kind, files


def _padded(section: Callable[[int], np.ndarray], padding: Padding) -> Callable[[Slices], np.ndarray]:
    """A reader for a stack of images of different sizes."""

    def read(slices: Slices) -> np.ndarray:
        sections, rows, columns, *colours = slices
        found = [window(section(z), rows, columns, padding) for z in range(sections.start, sections.stop)]
        return np.stack(found)[(slice(None), slice(None), slice(None), *colours)]

    return read


def _reader(kind: str) -> Callable[[Path], tuple[np.ndarray, tuple[str, ...]]]:
    return one_image if kind == "tiff" else read_image


def _doubts(files: Sequence[Path]) -> tuple[str, ...]:
    """A remark if the names of files make it doubtful that each is one section, in this order."""
    names = Counter(re.sub(r"\d+", "#", file.stem) for file in files)
    if 1 < len(names) <= MOST_SERIES and min(names.values()) > 1:
        kinds = [next(file.name for file in files if re.sub(r"\d+", "#", file.stem) == name) for name in names]
        return (f"names are of {len(names)} kinds, as {' and '.join(kinds)}: all {len(files)} files are sections",)
    numbers = [[int(digits) for digits in re.findall(r"\d+", file.stem)] for file in files]
    if len(names) != 1 or not numbers[0]:
        return ()
    columns = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    if len(columns) > 1:
        return (f"names count by {len(columns)} numbers: sections are in their order, from {files[0].name} on",)
    twice = [number for number, count in Counter(map(tuple, numbers)).items() if count > 1]
    if twice:
        return (f"a number comes twice in the names, {twice[0][-1]} first: each file is a section",)
    return _gaps(files, columns[0]) if columns else ()


def _gaps(files: Sequence[Path], numbers: Sequence[int]) -> tuple[str, ...]:
    """A remark if the numbers of sections leave some out."""
    steps = [after - before for before, after in pairwise(numbers)]
    usual = min(steps)
    wide = [number for number, step in enumerate(steps) if step > usual]
    if usual < 1 or not wide:
        return ()
    first = f"{files[wide[0]].name} and {files[wide[0] + 1].name}"
    return (f"sections are missing by their numbers, the first between {first}: they are put side by side",)


def by_number(path: Path) -> list[tuple[int, str]]:
    """Sorts slice2 before slice10."""
    return [(int(piece or -1), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", path.name)]
