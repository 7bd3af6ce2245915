"""Imaris files: HDF5 with a pyramid of levels, time points and channels, padded to whole chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from blockwise.arrays.space import Said, Space
from blockwise.errors import BadInput
from contraband.importing.filters import check_filters
from contraband.importing.source import ForeignArray, Slices, Wanted

WHERE = "the Imaris header"
AXES = "tczyx"


def is_imaris(file: h5py.File) -> bool:
    """Whether this is a file of Imaris."""
    return isinstance(file.get("DataSet"), h5py.Group) and "ResolutionLevel 0" in file["DataSet"]


@contextmanager
def open_imaris(path: Path, file: h5py.File, wanted: Wanted) -> Iterator[ForeignArray]:
    """One level of the image, (time, channel, z, y, x) without its padding."""
    wanted.only(path, "name", "level")
    levels = file["DataSet"]
    level = wanted.level or 0
    if f"ResolutionLevel {level}" not in levels:
        raise BadInput(path, "no such level of the image", got=level, wanted=f"0 to {len(levels) - 1}")
    points = levels[f"ResolutionLevel {level}"]
    times = [points[f"TimePoint {number}"] for number in range(len(points))]
    channels = len(times[0])
    first = times[0]["Channel 0"]
    data = first["Data"]
    check_filters(path, data)
    spatial = tuple(
        _whole(first.attrs.get(f"ImageSize{axis}"), size) for axis, size in zip("ZYX", data.shape, strict=True)
    )

    def read(slices: Slices) -> np.ndarray:
        t, c, *space = slices
        blocks = [
            times[time][f"Channel {channel}"]["Data"][tuple(space)]
            for time in range(t.start, t.stop)
            for channel in range(c.start, c.stop)
        ]
        return np.stack(blocks).reshape(t.stop - t.start, c.stop - c.start, *blocks[0].shape)

    yield ForeignArray((len(times), channels, *spatial), data.dtype, read, _space(file, spatial))


def _space(file: h5py.File, spatial: tuple[int, ...]) -> Space:
    """Voxel size and corner from the extent of the image, which every level fills."""
    image = file.get("DataSetInfo/Image")
    axes = Said(tuple(AXES), WHERE)
    if image is None:
        return Space(axes)
    size: dict[str, float] = {}
    begin: dict[str, float] = {}
    for number, (axis, count) in enumerate(zip("xyz", reversed(spatial), strict=True)):
        low = _number(image.attrs.get(f"ExtMin{number}"))
        high = _number(image.attrs.get(f"ExtMax{number}"))
        if low is not None and high is not None and high > low:
            size[axis] = (high - low) / count
            begin[axis] = low
    unit = _text(image.attrs.get("Unit"))
    return Space(
        axes,
        Said(size, WHERE) if size else None,
        Said(begin, WHERE) if any(begin.values()) else None,
        Said(unit, WHERE) if unit else None,
    )


def _text(value: Any) -> str:
    """Imaris writes text as arrays of single letters."""
    if value is None or isinstance(value, str):
        return value or ""
    return b"".join(np.atleast_1d(value).tolist()).decode("utf-8", "replace")


def _number(value: Any) -> float | None:
    try:
        found = float(_text(value))
    except (ValueError, TypeError):
        return None
    return found if math.isfinite(found) else None


def _whole(value: Any, most: int) -> int:
    found = _number(value)
    return most if found is None or not 0 < found <= most else int(found)
