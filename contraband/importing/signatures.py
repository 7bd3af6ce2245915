"""What kind of file this is, by what is in it: suffixes are chosen freely."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from blockwise.errors import BadInput

SIGNATURES = (
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\x89PNG", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"BM", "image"),
    (b"GIF8", "image"),
    (b"RIFF", "image"),
    (b"\x00\x00\x00\x0cjP  ", "image"),
    (b"P5", "image"),
    (b"P6", "image"),
)
"""How files begin, and which of our readers takes them."""
FOREIGN = (
    (b"CDF", "NetCDF 3", "convert it: nccopy -k netCDF-4 FILE NEW"),
    (b"MATLAB 5.0", "a MATLAB file older than 7.3", "save it with -v7.3"),
    (b"\x1f\x8b", "packed by gzip", "unpack it first"),
    (b"BZh", "packed by bzip2", "unpack it first"),
    (b"ZISRAWFILE", "a CZI file of Zeiss", "export it as OME-TIFF"),
    (b"\xda\xce\xbe\x0a", "an ND2 file of Nikon", "export it as OME-TIFF"),
    (b"\x70\x00\x00\x00", "a LIF file of Leica", "export it as OME-TIFF"),
    (b"NRRD", "an NRRD file", "export it as TIFF or HDF5"),
    (b"\x5c\x01\x00\x00", "a NIfTI file", "export it as TIFF or HDF5"),
)
"""How files begin that we cannot read: what they are, and what to do."""
AT_208 = b"MAP "
KNOWN = "give .npz, .npy, TIFF, PNG, JPEG, a folder of these, HDF5, zarr or N5"


def kind_of(file: Path) -> str:
    """The reader for a file: npy, npz, zarr (in a zip), tiff, hdf5 or image; `` if there is none."""
    head = _head(file)
    kind = next((kind for begin, kind in SIGNATURES if head.startswith(begin)), "")
    if kind == "zip":
        return "zarr" if zipped_root(file) is not None else "npz"
    if not kind and _is_hdf5(file, head):
        return "hdf5"
    return kind


def zipped_root(file: Path) -> str | None:
    """Where a zarr hierarchy begins within a zip file, `` for its root; None if there is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return None
    roots = [os.path.dirname(name) for name in names if os.path.basename(name) in ("zarr.json", ".zarray", ".zgroup")]
    return min(roots, key=lambda root: (len(root.split("/")) if root else 0, root)) if roots else None


def refusal(path: Path) -> BadInput:
    """Why a file cannot be read at all."""
    if path.is_dir():
        return BadInput(path, "is a folder in no known format", todo=KNOWN)
    head = _head(path)
    if not head:
        return BadInput(path, "is empty", todo="copy the file again")
    for begin, name, todo in FOREIGN:
        if head.startswith(begin):
            return BadInput(path, f"is {name}, which is not read here", todo=todo)
    if head[208:212] == AT_208:
        return BadInput(path, "is an MRC file, which is not read here", todo="export it as TIFF")
    return BadInput(path, "is in no known format", todo=KNOWN)


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(1024)


def _is_hdf5(file: Path, head: bytes) -> bool:
    """HDF5 may begin after a block of the user's own, of 512 bytes or twice, four times, ... as many."""
    if len(head) < 1024:
        return False
    import h5py

    return bool(h5py.is_hdf5(file))
