"""A folder with one image per section."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from blockwise.arrays.space import Said, Space
from blockwise.errors import BadInput
from contraband.importing.images import is_jpeg, read_image
from contraband.importing.order import NumberedFile, doubts, in_order
from contraband.importing.padding import Padding, extent, heads_of, padding_remarks, window
from contraband.importing.signatures import kind_of
from contraband.importing.source import ForeignArray, Slices, Wanted
from contraband.importing.tiff import one_image, paged, space_in_plane


def sections_in(folder: Path) -> dict[str, list[NumberedFile]]:
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
    return {kind: in_order(found[kind]) for kind in ("tiff", "image") if kind in found}


@contextmanager
def open_folder(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """A folder with one image per section, in the order of the numbers in their names."""
    wanted.only(path, "pad")
    kind, numbered = _of_one_kind(path)
    files = [one.path for one in numbered]
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
        Space(Said(names, f"the folder, a section per file from {files[0].name} to {files[-1].name}")).over(plane),
        remarks=(*remarks, *doubts(numbered), *(padding_remarks(images) if images else ())),
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


def _of_one_kind(path: Path) -> tuple[str, list[NumberedFile]]:
    """The kind of the images in a folder, and their files; raises BadInput if there are two kinds."""
    kinds = sections_in(path)
    if len(kinds) > 1:
        counts = " and ".join(f"{len(files)} such as {files[0].path.name}" for files in kinds.values())
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
