"""Arrays of numpy: .npy and .npz."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from blockwise.errors import BadInput
from contraband.importing.source import ForeignArray, Wanted, choose


@contextmanager
def open_npz(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """An array of an .npz file, unpacked to disk first: compressed members can only be read as a whole."""
    wanted.only(path, "name")
    with zipfile.ZipFile(path) as archive:
        names = [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]
        if not names:
            raise BadInput(path, "is a zip file with neither arrays of numpy nor zarr in it", todo="unpack it first")
        chosen = choose(path, wanted.name, names)
        plain = wanted.scratch / "array.npy"
        with archive.open(f"{chosen}.npy") as packed, plain.open("wb") as target:
            shutil.copyfileobj(packed, target, 1 << 20)
    with open_npy(plain, Wanted(scratch=wanted.scratch)) as source:
        yield source


@contextmanager
def open_npy(path: Path, wanted: Wanted) -> Iterator[ForeignArray]:
    """A .npy file, mapped into memory."""
    wanted.only(path)
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "mmap" in str(error):
            raise BadInput(path.name, "ends before its array does", todo="copy or save the file again") from None
        raise BadInput(path.name, f"does not hold plain numbers ({error})") from None
    yield ForeignArray(data.shape, data.dtype, data.__getitem__)
