"""Units of length, however a program spells them."""

from __future__ import annotations

import re

NANOMETRES = {
    "fm": 1e-6,
    "pm": 1e-3,
    "angstrom": 0.1,
    "nm": 1.0,
    "um": 1e3,
    "mm": 1e6,
    "cm": 1e7,
    "dm": 1e8,
    "m": 1e9,
    "km": 1e12,
    "inch": 2.54e7,
    "foot": 3.048e8,
}
"""Nanometres of each unit of length, by the name it has here."""
VOXELS = "vx"
STORED = ("nm", "um", "mm", VOXELS)
"""Units that our volumes are written in."""
OME_NAMES = {"nm": "nanometer", "um": "micrometer", "mm": "millimeter", "angstrom": "angstrom", "m": "meter"}

_PREFIXES = {
    "femto": "fm",
    "pico": "pm",
    "nano": "nm",
    "micro": "um",
    "milli": "mm",
    "centi": "cm",
    "deci": "dm",
    "": "m",
    "kilo": "km",
}
_OTHERS = {
    "å": "angstrom",
    "angstroms": "angstrom",
    "ångström": "angstrom",
    "ångstrom": "angstrom",
    "μm": "um",  # the Greek letter
    "µm": "um",  # the micro sign
    "u": "um",
    "µ": "um",
    "μ": "um",
    "mic": "um",
    "micron": "um",
    "microns": "um",
    "in": "inch",
    "inches": "inch",
    '"': "inch",
    "ft": "foot",
    "feet": "foot",
    "px": VOXELS,
    "pixel": VOXELS,
    "pixels": VOXELS,
    "voxel": VOXELS,
    "voxels": VOXELS,
    VOXELS: VOXELS,
}
NOTHING = ("", "none", "null", "unknown", "undefined", "unit", "units", "uncalibrated", "reference frame", "arbitrary")
"""What programs write where they know no unit."""


def unit_called(text: object) -> str | None:
    """The unit by its name here, such as `um` for `µm`, `micron` and `Micrometers`; None if it is no unit we know."""
    if not isinstance(text, str):
        return None
    # Java and older ImageJ write the sign as an escape.
    plain = re.sub(r"\\+u00[bB]5", "µ", text).replace("Â", "").strip()
    if plain in NANOMETRES:
        return plain
    if plain == "A":
        return "angstrom"
    lower = plain.lower()
    if lower in NANOMETRES or lower in _OTHERS:
        return _OTHERS.get(lower, lower)
    long = re.fullmatch(r"([a-z]*?)(?:met(?:er|re)s?)", lower)
    return _PREFIXES.get(long.group(1)) if long else None


def says_nothing(text: object) -> bool:
    """Whether this is no unit at all, or a word for none."""
    return text is None or (isinstance(text, str) and text.strip().lower() in NOTHING)


def factor(unit: str, other: str) -> float | None:
    """How many of `other` one `unit` is, both named as here; None if one of them is no length."""
    if unit == other:
        return 1.0
    if unit not in NANOMETRES or other not in NANOMETRES:
        return None
    return NANOMETRES[unit] / NANOMETRES[other]


def to_store(unit: str) -> str:
    """The unit in which lengths of `unit` are written: its own, or the nearest that is stored."""
    if unit in STORED:
        return unit
    return "nm" if NANOMETRES[unit] < 1 else "um"
