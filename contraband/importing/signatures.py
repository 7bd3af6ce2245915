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
    *((b"P%d" % number, "image") for number in range(1, 7)),
)
"""How files begin, and which of our readers takes them."""
AS_OME = "export it as OME-TIFF"
AS_PLAIN = "export it as TIFF or HDF5"
UNPACK = "unpack it first"
FOREIGN = (
    (0, b"CDF", "NetCDF 3", "convert it: nccopy -k netCDF-4 FILE NEW"),
    (0, b"MATLAB 5.0", "a MATLAB file older than 7.3", "save it with -v7.3"),
    (0, b"\x1f\x8b", "packed by gzip", UNPACK),
    (0, b"BZh", "packed by bzip2", UNPACK),
    (0, b"\xfd7zXZ", "packed by xz", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "packed by zstd", UNPACK),
    (0, b"7z\xbc\xaf", "a 7z archive", UNPACK),
    (0, b"Rar!", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"ZISRAWFILE", "a CZI file of Zeiss", AS_OME),
    (0, b"\xda\xce\xbe\x0a", "an ND2 file of Nikon", AS_OME),
    (0, b"\x70\x00\x00\x00", "a LIF file of Leica", AS_OME),
    (0, b"\xd0\xcf\x11\xe0", "a compound file, as OIB of Olympus or old ZVI of Zeiss", AS_OME),
    (96, b"\xa0\xc0", "a DV file of DeltaVision", AS_OME),
    (96, b"\xc0\xa0", "a DV file of DeltaVision", AS_OME),
    (0, b"\x00\x00\x00\x03", "a DM3 file of DigitalMicrograph", AS_OME),
    (0, b"\x00\x00\x00\x04", "a DM4 file of DigitalMicrograph", AS_OME),
    (0, b"NRRD", "an NRRD file", AS_PLAIN),
    (0, b"\x5c\x01\x00\x00", "a NIfTI file", AS_PLAIN),
    (0, b"\x00\x00\x01\x5c", "a NIfTI file", AS_PLAIN),
    (0, b"\x1c\x02\x00\x00", "a NIfTI-2 file", AS_PLAIN),
    (0, b"\x00\x00\x02\x1c", "a NIfTI-2 file", AS_PLAIN),
    (0, b"ObjectType", "a MetaImage file", AS_PLAIN),
    (0, b"NDims", "a MetaImage file", AS_PLAIN),
    (128, b"DICM", "a DICOM file", AS_PLAIN),
    (0, b"SIMPLE  =", "a FITS file", AS_PLAIN),
    (208, b"MAP ", "an MRC file", "export it as TIFF"),
    (4, b"ftyp", "a film, or a HEIC or AVIF image", "export its images as PNG or TIFF"),
    (8, b"AVI ", "a film", "export its images as PNG or TIFF"),
    (0, b"8BPS", "a Photoshop file", "export it as TIFF"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR file", "export it as TIFF"),
    (0, b"WKW", "a file of a WEBKNOSSOS dataset in WKW", "convert the dataset to zarr: webknossos convert-zarr"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "git lfs pull"),
    (0, b"<?xml", "an XML file", "give the image it describes"),
    (0, b"<!DOCTYPE", "a web page, not the file it was loaded from", "load the file again"),
    (0, b"<html", "a web page, not the file it was loaded from", "load the file again"),
)
"""What stands where in files that we cannot read: what they are, and what to do."""
FOLDERS = (
    ("info", "a volume of Neuroglancer (precomputed)", "convert it to zarr or TIFF, such as by cloud-volume"),
    ("header.wkw", "a WEBKNOSSOS dataset in WKW", "convert it to zarr: webknossos convert-zarr"),
    ("datasource-properties.json", "a WEBKNOSSOS dataset", "give one of its layers as zarr, or convert it"),
    ("knossos.conf", "a KNOSSOS dataset", AS_PLAIN),
    ("dataset.xml", "a dataset of BigDataViewer", "give its HDF5 file or N5 folder"),
)
"""Files by which other folders are told: what these are, and what to do."""
KNOWN = "give .npz, .npy, TIFF, PNG, JPEG, a folder of these, HDF5, zarr or N5"


def kind_of(file: Path) -> str:
    """The reader for a file: npy, npz, zarr (in a zip), tiff, hdf5 or image; `` if there is none."""
    head = _head(file)
    kind = next((kind for begin, kind in SIGNATURES if head.startswith(begin)), "")
    if head.startswith(b"RIFF") and not head.startswith(b"WEBP", 8):
        return ""
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
    """Why a file or folder cannot be read at all."""
    if path.is_dir():
        for file, name, todo in FOLDERS:
            if (path / file).is_file():
                return BadInput(path, f"is {name}, which is not read here", todo=todo)
        return BadInput(path, "is a folder in no known format", todo=KNOWN)
    head = _head(path)
    if not head:
        return BadInput(path, "is empty", todo="copy the file again")
    for place, mark, name, todo in FOREIGN:
        if head.startswith(mark, place):
            return BadInput(path, f"is {name}, which is not read here", todo=todo)
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
