"""A new array appears at its place complete, or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockwise.arrays.info import SPATIAL
from blockwise.arrays.ome import describe_multiscale
from blockwise.arrays.opening import open_group
from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.files.address import Address, Synthetic, check_writable, on_disk, upload
from blockwise.files.whole import exists, staging

PREFIX = ".importing-"
LOCK = "in-use"


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A hidden folder on the disk of the target, gone afterwards; what imports that were killed have left goes too.

    For an address it is in the working folder: what is not whole is no object.
    """
    nearest = next(parent for parent in on_disk(target).absolute().parents if parent.exists())
    for left in nearest.glob(f"{PREFIX}*"):
        _remove_unless_used(left)
    with staging(on_disk(target), PREFIX) as folder, (folder / LOCK).open("w") as lock:
        _locked(lock.fileno())
        yield folder


def _remove_unless_used(folder: Path) -> None:
    """Remove the folder of an import that no longer runs; without a lock, or where there are none, it stays."""
    try:
        with (folder / LOCK).open("r+") as lock:
            if _locked(lock.fileno()):
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return


def _locked(handle: int) -> bool:
    """Whether the lock was to be had; it is given back when its file is closed, by a killed process too.

    Not a lock of the process: two imports may run in one.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def check_target(target: Path) -> None:
    """Raise BadInput unless `target` can become a new array in a group."""
    if isinstance(target, Synthetic):
        raise BadInput(target, "is computed when it is read: nothing can be written there", wanted="a path or s3://...")
    if exists(target):
        raise BadInput(target, "exists already", todo="remove it, or choose another target")
    if ".." in target.parts and any(name.endswith(".zarr") for name in target.parts[: target.parts.index("..")]):
        raise BadInput(target, "leads out of its container", got="..", wanted="such as data/vol.zarr/raw")
    check_writable(target, "target")
    if target.suffix == ".zarr":
        raise BadInput(target, "names no array", wanted=f"such as {target / 'raw'}")
    for parent in target.parents:
        if parent.is_file():
            raise BadInput(target, f"{parent} is a file", wanted="a folder")
        if (parent / ".zarray").is_file() or _is_array(parent / "zarr.json"):
            raise BadInput(target, f"{parent} is an array, not a group", todo="choose another target")


def publish(made: Volume, target: Path) -> None:
    """Move a finished array to its place, in one step, and enter it into the groups above it.

    To an address it is copied, and is an array with the last file.
    """
    described = info(made)
    if isinstance(target, Address):
        upload(made.path, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(made.path, target)
        except OSError as error:
            raise BadInput(target, f"cannot be put in place ({error.strerror})") from None
    names = ("channel",) * (len(described.shape) - 3) + SPATIAL
    describe_multiscale(target, names, described.voxel_size, described.offset, described.units)
    _make_groups(target.parent)


def _make_groups(folder: Path) -> None:
    """Make every folder from the one named *.zarr downwards a zarr group."""
    roots = [parent for parent in (folder, *folder.parents) if parent.suffix == ".zarr"]
    while roots and folder != roots[-1].parent:
        if not (folder / ".zgroup").is_file():
            open_group(folder, "a", zarr_format=3)
        folder = folder.parent


def _is_array(description: Path) -> bool:
    return description.is_file() and '"array"' in description.read_text(encoding="utf-8", errors="replace")
