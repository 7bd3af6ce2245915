"""Files of other programs, opened so that any part of their array can be read alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from blockwise.errors import BadInput, looked_for
from contraband.importing.hdf5 import open_hdf5
from contraband.importing.images import open_image
from contraband.importing.n5_space import open_n5
from contraband.importing.plain import open_npy, open_npz
from contraband.importing.signatures import kind_of, refusal
from contraband.importing.source import ForeignArray, Slices, Wanted, readable
from contraband.importing.stack import open_folder, sections_in
from contraband.importing.tiff import open_tiff
from contraband.importing.zarrs import open_zarr

Opener = Callable[[Path, Wanted], AbstractContextManager[ForeignArray]]
FILES: dict[str, Opener] = {
    "npz": open_npz,
    "npy": open_npy,
    "tiff": open_tiff,
    "image": open_image,
    "hdf5": open_hdf5,
    "zarr": open_zarr,
}
ZARR = ("zarr.json", ".zarray", ".zgroup")


@contextmanager
def open_foreign(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """The array that is meant of a file or folder; raises BadInput naming those there are."""
    if not os.path.exists(path):  # False too for a name that is too long
        raise BadInput(path, "no such file", todo=f"check the path{looked_for(path)}")
    # Only opening and reading put the blame on the file: what happens with the array has other reasons.
    with ExitStack() as stack:
        with readable(path):
            source = stack.enter_context(_opener(path)(path, wanted))
        yield replace(source, read=_careful(path, source.read))


def is_folder_of_images(path: Path) -> bool:
    """Whether this is a folder with an image per section; raises BadInput for one in no known format."""
    return os.path.isdir(path) and _opener(path) is open_folder  # False also for a name that is too long


def _opener(path: Path) -> Opener:
    """What opens a file or folder, by what is in it."""
    if path.is_file():
        opener = FILES.get(kind_of(path))
    elif any((path / name).exists() for name in ZARR):
        opener = open_zarr
    elif (path / "attributes.json").exists() or any(one.suffix == ".n5" for one in (path, *path.absolute().parents)):
        opener = open_n5
    else:
        opener = open_folder if path.is_dir() and sections_in(path) else None
    if opener is None:
        raise refusal(path)
    return opener


def _careful(path: Path, read: Callable[[Slices], np.ndarray]) -> Callable[[Slices], np.ndarray]:
    def reading(slices: Slices) -> np.ndarray:
        with readable(path):
            return np.asarray(read(slices))

    return reading
