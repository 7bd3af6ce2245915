"""What TIFF headers say of axes, voxel size and place: ImageJ's, OME's, those tifffile knows, and the tags of all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from blockwise.arrays.space import Said, Space
from blockwise.arrays.units import NANOMETRES, says_nothing, unit_called

OF_PALETTE = "its colours are those of a palette: the numbers of the palette are taken"
NAMES = {"Q": None, "I": None, "E": "c", "S": "c"}
"""tifffile's letters for what is unknown, a sequence of anything, wavelengths, and samples of a pixel."""
HEADERS = {
    "ome": "OME",
    "imagej": "ImageJ",
    "lsm": "LSM",
    "stk": "MetaMorph",
    "fluoview": "FluoView",
    "nih": "NIH Image",
    "scanimage": "ScanImage",
    "mmstack": "Micro-Manager",
    "ndtiff": "NDTiff",
    "andor": "Andor",
    "philips": "Philips",
    "scn": "Leica",
}
"""By tifffile's kinds of series: whose header it is."""
RESOLUTION_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}
PRINTED_NM = 10_000.0
"""Larger voxels, given per inch or centimetre, are how an image is to be printed: 72 to 2540 dots per inch."""


def space_of(file: tifffile.TiffFile, series: Any, level: Any, number: int) -> tuple[Space, tuple[str, ...]]:
    """What is said of one level of a series, the file's `number`-th; and remarks for the user."""
    where = f"the {HEADERS.get(series.kind, 'TIFF')} header"
    letters = [NAMES.get(letter, letter.lower()) for letter in level.axes]
    axes = Said(tuple(letters), where)
    readers = {"imagej": _imagej, "ome": _ome}
    size, offset, units, remarks = readers.get(series.kind, _known)(file, series, number)
    ratios = {
        axis.lower(): whole / size for axis, whole, size in zip(level.axes, series.shape, level.shape, strict=False)
    }
    size = {axis: value * ratios.get(axis, 1) for axis, value in size.items()}
    unit = next((unit_called(text) for text in units.values() if not says_nothing(text)), None)
    if "x" in size and unit in ("inch", "cm") and series.kind != "ome" and size["x"] * NANOMETRES[unit] > PRINTED_NM:
        per_inch = NANOMETRES["inch"] / (size["x"] * NANOMETRES[unit])
        note = f"its {per_inch:.4g} dots per inch are taken for a resolution of printing, not for the size of a voxel"
        size, offset, units, remarks = {}, {}, {}, (*remarks, note)
    space = Space(axes, *(Said(said, where) if said else None for said in (size, offset, units)))
    return space, (*remarks, *remarks_on(level.keyframe))


def remarks_on(page: Any) -> tuple[str, ...]:
    """What a page asks of a viewer and is not done here, for the user: the numbers are taken as they are stored."""
    notes: list[str] = []
    if (turn := int(page.tags.valueof("Orientation") or 1)) != 1:
        notes.append(turned(turn))
    if int(page.photometric or 0) == tifffile.PHOTOMETRIC.MINISWHITE and "PhotometricInterpretation" in page.tags:
        notes.append("its header shows 0 as white: the numbers are taken as they are stored, 0 stays 0")
    if int(page.photometric or 0) == tifffile.PHOTOMETRIC.PALETTE and not _is_plain_grey(page.colormap):
        notes.append(OF_PALETTE)
    return tuple(notes)


def _is_plain_grey(colours: Any) -> bool:
    """Whether a palette (3, n) shows each number as that grey."""
    if colours is None:
        return False
    ramp = np.arange(colours.shape[1])
    return bool((np.asarray(colours) >> 8 == ramp).all() or (np.asarray(colours) == ramp).all())


def turned(orientation: int) -> str:
    """The remark on an image that is shown turned or mirrored; orientation: as TIFF and EXIF number them, 2 to 8."""
    return f"its header has it turned or mirrored for viewing (orientation {orientation}): it is taken as it is stored"


def has_colours(series: Any) -> bool:
    """Whether the samples of a pixel are colours rather than channels."""
    if series.axes[-1:] != "S" or series.keyframe.photometric is None:
        return False
    name = str(getattr(series.keyframe.photometric, "name", series.keyframe.photometric))
    return name in ("RGB", "YCBCR", "CIELAB", "ICCLAB") or (series.shape[-1] == 2 and name.startswith("MINIS"))


Found = tuple[dict[str, float], dict[str, float], dict[str, str], tuple[str, ...]]
"""Voxel size, place, units by axis, and remarks."""


def _imagej(file: tifffile.TiffFile, series: Any, number: int) -> Found:  # noqa: ARG001 - as the others
    """ImageJ keeps x and y in the tags, z in its header; a spacing that is not there is 1."""
    meta: Mapping[str, Any] = file.imagej_metadata or {}
    size, unit = _tags(series.keyframe)
    unit = meta.get("unit", unit) or ""
    spacing = meta.get("spacing")
    is_calibrated = _is_number(spacing) or not says_nothing(unit) or any(value != 1 for value in size.values())
    if not is_calibrated or (unit_called(unit) == "vx" and set(size.values()) <= {1.0} and not _is_number(spacing)):
        return {}, {}, {}, ()
    if set("ZIQ") & set(series.axes):
        if not _is_number(spacing):
            size["z"] = 1.0
        elif spacing and math.isfinite(spacing):
            size["z"] = abs(float(spacing))
    # The origin is given in voxels, with x = (number - origin) * size.
    origins = {axis: meta.get(f"{axis}origin") for axis in size}
    offset = {axis: -float(at) * size[axis] for axis, at in origins.items() if _is_number(at) and at}
    units = {axis: str(meta.get(f"{axis}unit") or unit) for axis in size}
    return size, offset, units if not says_nothing(unit) else {}, ()


def _ome(file: tifffile.TiffFile, series: Any, number: int) -> Found:
    """Physical sizes of the image in the header that is this series; they are in micrometers unless said."""
    try:
        root = ElementTree.fromstring(file.ome_metadata or "")
    except ElementTree.ParseError:
        return {}, {}, {}, ("its OME header cannot be read",)
    images = root.findall("{*}Image")
    if len(images) != len(file.series):
        images = [image for image in images if image.get("Name") == series.name]
        number = 0 if len(images) == 1 else len(images)
    if number >= len(images):
        return {}, {}, {}, ("which voxel size is that of this series is not clear from its OME header",)
    pixels = images[number].find("{*}Pixels")
    if pixels is None:
        return {}, {}, {}, ()
    keys = {axis: f"PhysicalSize{axis.upper()}" for axis in "zyx"}
    size = {axis: float(pixels.get(key, "")) for axis, key in keys.items() if _is_number_text(pixels.get(key))}
    units = {axis: pixels.get(f"{keys[axis]}Unit", "µm") for axis in size}
    planes = pixels.findall("{*}Plane")
    moved = any(float(plane.get(f"Position{axis}") or 0) for plane in planes for axis in "XYZ")
    note = ("positions of the microscope's stage in its OME header are not used as a place",) if moved else ()
    return size, {}, units, note


def _known(file: tifffile.TiffFile, series: Any, number: int) -> Found:
    """What tifffile has read of a header of another program, or the tags that every TIFF file may have."""
    if series.kind in HEADERS:
        scales = {axis.lower(): float(value) for axis, value in series.coord_scales.items() if axis in "XYZ" and value}
        places = {axis.lower(): float(value) for axis, value in series.coord_offsets.items() if axis in "XYZ" and value}
        units = {axis.lower(): str(value) for axis, value in series.coord_units.items() if axis in "XYZ"}
        return scales, places, units, ()
    size, unit = _tags(series.keyframe)
    shaped = dict((file.shaped_metadata or [{}])[min(number, len(file.shaped_metadata or [{}]) - 1)])
    unit = str(shaped.get("unit") or unit or "")
    if _is_number(shaped.get("spacing")) and shaped["spacing"] > 0:
        size["z"] = float(shaped["spacing"])
    elif not unit and set(size.values()) <= {1.0}:
        return {}, {}, {}, ()
    return size, {}, dict.fromkeys(size, unit) if unit else {}, ()


def _tags(page: Any) -> tuple[dict[str, float], str | None]:
    """Size of a pixel along x and y by the tags for resolution, and its unit; nothing where they make no sense."""
    size: dict[str, float] = {}
    for axis, code in (("x", "XResolution"), ("y", "YResolution")):
        value = page.tags.valueof(code)
        if isinstance(value, tuple) and len(value) == 2 and value[0] > 0 and value[1] > 0:
            size[axis] = value[1] / value[0]
    return size, RESOLUTION_UNITS.get(int(page.tags.valueof("ResolutionUnit") or 0))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_number_text(text: str | None) -> bool:
    try:
        return text is not None and float(text) > 0
    except ValueError:
        return False
