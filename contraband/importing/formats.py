"""Files of other programs, opened so that any region of their array can be read alone."""

from __future__ import annotations

import logging
import math
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import zarr

from blockwise.errors import BadInput
from contraband.importing.n5 import N5Array

Slices = tuple[slice, ...]

TIFF = (".tif", ".tiff")
HDF5 = (".h5", ".hdf", ".hdf5")


@dataclass(frozen=True)
class ForeignArray:
    """An array in a file, and what the file says of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Slices], np.ndarray]
    """The voxels between begin and end along each stored axis."""
    attributes: dict[str, Any] = field(default_factory=dict)


@contextmanager
def open_foreign(path: Path, name: str | None, scratch: Path) -> Iterator[ForeignArray]:
    """The array `name` of a file or folder; raises BadInput naming the arrays there are.

    scratch: an existing folder; arrays that can only be read from front to back are unpacked into it.
    """
    if not path.exists():
        raise BadInput(path, "no such file", todo="check the path")
    kind = next((opener for fits, opener in FORMATS if fits(path)), None)
    if kind is None:
        raise BadInput(path, "is in no known format", wanted=".npz, .npy, .tif, .tif folder, .h5, zarr, N5")
    try:
        with kind(path, name, scratch) as source:
            yield source
    except (OSError, EOFError, zipfile.BadZipFile, tifffile.TiffFileError) as error:
        if isinstance(error, OSError) and error.filename and Path(error.filename) != path:
            raise
        raise BadInput(path, f"cannot be read ({error})", todo="copy or export the file again") from None


def choose(path: Path, name: str | None, names: Sequence[str]) -> str:
    """The array that is meant: `name`, or the only one there is; raises BadInput with all names otherwise."""
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "none"
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise BadInput(path, "which array is meant", got="no name", wanted=listed, todo="give --name")
    if name.strip("/") not in names:
        raise BadInput(path, "no such array", got=name, wanted=listed)
    return name.strip("/")


@contextmanager
def open_npz(path: Path, name: str | None, scratch: Path) -> Iterator[ForeignArray]:
    """An array of an .npz file, unpacked to disk first: compressed members can only be read as a whole."""
    with zipfile.ZipFile(path) as archive:
        names = [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]
        chosen = choose(path, name, names)
        plain = scratch / "array.npy"
        with archive.open(f"{chosen}.npy") as packed, plain.open("wb") as target:
            shutil.copyfileobj(packed, target, 1 << 20)
    with open_npy(plain, None, scratch) as source:
        yield source


@contextmanager
def open_npy(path: Path, name: str | None, _scratch: Path) -> Iterator[ForeignArray]:
    """A .npy file, mapped into memory."""
    no_name(path, name)
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise BadInput(path.name, f"does not hold plain numbers ({error})") from None
    yield ForeignArray(data.shape, data.dtype, data.__getitem__)


@contextmanager
def open_hdf5(path: Path, name: str | None, _scratch: Path) -> Iterator[ForeignArray]:
    """A dataset of an HDF5 file."""
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
        data = file[choose(path, name, sorted(names))]
        attributes = {key: plain(value) for key, value in data.attrs.items()}
        yield ForeignArray(data.shape, data.dtype, data.__getitem__, attributes)


@contextmanager
def open_zarr(path: Path, name: str | None, _scratch: Path) -> Iterator[ForeignArray]:
    """A zarr array, version 2 or 3, or one in a zarr group."""
    try:
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Group):
            arrays = [key for key, item in node.members(max_depth=None) if isinstance(item, zarr.Array)]
            node = node[choose(path, name, sorted(arrays))]
        else:
            no_name(path, name)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(path, f"is not readable zarr ({error})") from None
    yield ForeignArray(node.shape, node.dtype, node.__getitem__, dict(node.attrs))


@contextmanager
def open_n5(path: Path, name: str | None, _scratch: Path) -> Iterator[ForeignArray]:
    """A dataset of an N5 container."""
    described = [file for file in path.rglob("attributes.json") if '"dimensions"' in file.read_text("utf-8")]
    names = sorted(str(file.parent.relative_to(path)) for file in described)
    data = N5Array(path / choose(path, name, names))
    yield ForeignArray(data.shape, data.dtype, data.__getitem__)


@contextmanager
def open_tiff(path: Path, name: str | None, _scratch: Path) -> Iterator[ForeignArray]:
    """The first image series of a TIFF file, mapped into memory where it is stored in one piece."""
    no_name(path, name)
    with complete(path):
        file = tifffile.TiffFile(path)
    with file:
        with complete(path):
            found, _ = list(file.series), len(file.pages)
            series = found[0] if found else None
            mapped = series and series.dataoffset is not None and series.keyframe.is_memmappable
            data = tifffile.memmap(path, series=0, mode="r") if mapped else None
        if series is None or len(found) > 1:
            raise BadInput(path, "is not one stack of images", got=f"{len(found)} of different size or kind")
        if data is not None:
            yield ForeignArray(data.shape, data.dtype, data.__getitem__)
            return
        leading = series.shape[: len(series.shape) - len(series.keyframe.shape)]

        def section(number: int) -> np.ndarray:
            with complete(path):
                return np.asarray(file.asarray(key=number))

        yield ForeignArray(series.shape, series.dtype, paged(leading, section))


@contextmanager
def open_folder(path: Path, name: str | None, _scratch: Path) -> Iterator[ForeignArray]:
    """A folder with one TIFF file a section, in the order of the numbers in their names."""
    no_name(path, name)
    files = sorted((file for file in path.iterdir() if file.suffix.lower() in TIFF), key=by_number)

    def section(number: int) -> np.ndarray:
        data = one_image(files[number])
        if data.shape != first.shape or data.dtype != first.dtype:
            raise BadInput(
                files[number],
                "differs from the first section",
                got=f"{data.shape} {data.dtype}",
                wanted=f"{first.shape} {first.dtype}",
            )
        return data

    first = one_image(files[0])
    if first.ndim != 2:
        raise BadInput(files[0], "is not one grey section", got=first.shape, wanted="(y, x)")
    yield ForeignArray((len(files), *first.shape), first.dtype, paged((len(files),), section))


def one_image(path: Path) -> np.ndarray:
    """Everything in a small TIFF file."""
    with complete(path):
        return np.asarray(tifffile.imread(path))


@contextmanager
def complete(path: Path) -> Iterator[None]:
    """Raise BadInput for a damaged TIFF file, of which tifffile reads what is left and only logs the rest."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield
    except (ValueError, RuntimeError, zlib.error, tifffile.TiffFileError) as error:
        raise BadInput(path, f"cannot be read ({error})", todo="export the file again") from None
    finally:
        logger.removeHandler(handler)
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


def no_name(path: Path, name: str | None) -> None:
    """Raise BadInput if an array is named in a file that holds only one."""
    if name is not None:
        raise BadInput(path, "holds one array without a name", got=f"--name {name}", todo="leave --name out")


def plain(value: Any) -> Any:
    """An HDF5 attribute as numbers, text and lists."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def by_number(path: Path) -> list[tuple[int, str]]:
    """Sorts slice2 before slice10."""
    return [(int(piece or -1), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", path.name)]


def _has(*files: str) -> Callable[[Path], bool]:
    return lambda path: any((path / file).exists() for file in files)


def _ends(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.is_file() and path.suffix.lower() in suffixes


Opener = Callable[[Path, str | None, Path], Any]
FORMATS: tuple[tuple[Callable[[Path], bool], Opener], ...] = (
    (_ends(".npz"), open_npz),
    (_ends(".npy"), open_npy),
    (_ends(*TIFF), open_tiff),
    (_ends(*HDF5), open_hdf5),
    (_has("zarr.json", ".zarray", ".zgroup"), open_zarr),
    (_has("attributes.json"), open_n5),
    (lambda path: path.is_dir() and any(file.suffix.lower() in TIFF for file in path.iterdir()), open_folder),
    (lambda path: path.is_dir() and path.suffix == ".n5", open_n5),
)
