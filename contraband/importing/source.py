"""An array of a file of another program, as everything after it sees it."""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from blockwise.arrays.space import Space
from blockwise.errors import BadInput

Slices = tuple[slice, ...]
OF_THE_TARGET = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the system that are none of a file that is only read: an array may be unpacked beside the target first."""


@dataclass(frozen=True)
class Wanted:
    """Which array of a file is meant."""

    name: str | None = None
    series: int | None = None
    level: int | None = None
    scratch: Path = Path()
    """An existing folder: arrays that can only be read from front to back are unpacked into it."""
    pad: Literal["mirror", "zero"] | None = None
    """How images of a folder are padded that are smaller than the largest; None: they are refused."""

    def only(self, path: Path, *keys: str) -> None:
        """Raise BadInput if something is chosen that this kind of file does not have."""
        for key in ("name", "series", "level"):
            value = getattr(self, key)
            if key not in keys and value is not None:
                has = "holds one array without a name" if key == "name" else f"has no {key} to choose from"
                raise BadInput(path, has, got=f"--{key} {value}", todo=f"leave --{key} out")
        if self.pad is not None and "pad" not in keys:
            raise BadInput(path, "is no folder of images", got="--pad", todo="leave --pad out")


@dataclass(frozen=True)
class ForeignArray:
    """An array in a file, and what the file says of it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Slices], np.ndarray]
    """The voxels between begin and end along each stored axis."""
    space: Space = field(default_factory=Space)
    attributes: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    """What the user should know, in one line each."""
    has_colours: bool = False
    """The last axis holds red, green, blue, and perhaps how opaque a voxel is."""
    is_lossy: bool = False
    """The numbers are not those that were saved, as JPEG changes them."""
    missing: Callable[[Slices], tuple[int, int]] | None = None
    """(chunks without a file, all chunks) in a part of the array; None where a file would be noticed to be missing."""

    filled: str = "0"
    """What chunks without a file are read as."""
    images: tuple[tuple[str, int, int], ...] = ()
    """Of a folder of images with padding: name of the file, height and width of each."""

    def with_remarks(self, *remarks: str) -> ForeignArray:
        """The same with more to say."""
        return replace(self, remarks=(*self.remarks, *remarks))


def choose(path: Path, name: str | None, names: Sequence[str]) -> str:
    """The array that is meant: `name`, or the only one there is; raises BadInput with all names otherwise."""
    if not names:
        raise BadInput(path, "holds no array", todo="is the copy complete? name a file or folder that holds one")
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise BadInput(path, "which array is meant", got="no name", wanted=listed, todo="give --name")
    if name.strip("/") not in names:
        raise BadInput(path, "no such array", got=name, wanted=listed)
    return name.strip("/")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise BadInput for what a file that cannot be read makes libraries raise."""
    try:
        yield
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in OF_THE_TARGET:
            raise
        what, todo = _cause(error)
        raise BadInput(path, what, todo=todo) from None


def _cause(error: Exception) -> tuple[str, str]:
    """What is wrong, and what to do about it."""
    text = str(error)
    if isinstance(error, BlockingIOError) or "unable to lock file" in text:
        return (
            "is locked: another program has it open for writing",
            "close it there, or set HDF5_USE_FILE_LOCKING=FALSE if the file system has no locks",
        )
    if isinstance(error, PermissionError):
        return f"may not be read ({error.strerror})", "give yourself the right to read it"
    if isinstance(error, FileNotFoundError):
        return f"a file of it is missing ({error.filename or text})", "copy all of it"
    if "filter" in text or "plugin" in text:
        return f"is packed by a filter of HDF5 that is not installed ({text})", "pip install hdf5plugin"
    return f"cannot be read ({text})", "copy or export the file again"
