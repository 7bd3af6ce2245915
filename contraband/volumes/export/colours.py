"""In which colours, and between which values, other programs show the channels of an exported image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from blockwise.arrays.pyramid import Level

WHITE = ("FFFFFF",)
TWO = ("00FF00", "FF00FF")
"""Green and magenta: whoever does not tell red from green still tells these, and what has both is white."""
MORE = ("FF0000", "00FF00", "0000FF", "FFFFFF", "00FFFF", "FF00FF", "FFFF00")
"""Red, green and blue first, so that a colour image is shown in its own colours; then as Fiji goes on, and again."""
LOOKED_AT_VX = 2**22
"""Voxels of a channel that are looked at, at most: a level of the pyramid that is as small is used."""
SHOWN_PERCENT = (0.1, 99.9)


def colours(count: int) -> tuple[str, ...]:
    """The colour of each of so many channels, as RRGGBB."""
    if count <= 2:
        return WHITE if count == 1 else TWO
    return tuple(MORE[number % len(MORE)] for number in range(count))


def described_channels(folder: Path, levels: list[Level], channels: int | None) -> dict[str, Any]:
    """What OME-Zarr 0.4 and 0.5 say under `omero` of an image whose levels lie in this folder, by their numbers.

    channels: None where it has no axis of them. Each is told its colour, and which values become black and the colour
    itself: few darker and few brighter ones are cut off. Least and largest value are those of the level that is looked
    at, the largest one itself where that is small.
    """
    number = next((at for at, level in enumerate(levels) if np.prod(level.shape) <= LOOKED_AT_VX), len(levels) - 1)
    array = zarr.open_array(folder / str(number), mode="r")
    count = channels or 1
    names = ["intensity"] if channels is None else [f"channel {channel}" for channel in range(count)]
    told = [
        {
            "label": name,
            "color": colour,
            "active": True,
            "window": _window(np.asarray(array[...] if channels is None else array[channel])),
        }
        for channel, (name, colour) in enumerate(zip(names, colours(count), strict=True))
    ]
    return {"channels": told, "rdefs": {"model": "greyscale" if count == 1 else "color"}}


def _window(values: np.ndarray) -> dict[str, float]:
    """Between which values (of any shape) a channel is shown; never empty, which viewers refuse."""
    known = values[np.isfinite(values)]
    if not known.size:
        return {"min": 0.0, "start": 0.0, "end": 1.0, "max": 1.0}
    low = float(known.min())
    high = float(known.max())
    if low == high:
        high = low + 1
    start, end = (float(level) for level in np.percentile(known, SHOWN_PERCENT))
    if start >= end:  # few voxels are unlike all others
        start = low
        end = high
    return {"min": low, "start": start, "end": end, "max": high}
