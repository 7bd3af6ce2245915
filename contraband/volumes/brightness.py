"""How bright raw is: what becomes 0 and 1 in it, and whether it suits a network."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockwise.arrays.values import check_finite
from blockwise.arrays.volume import Volume, info, read
from contraband.importing.sections import images_in
from contraband.models.normalise import Levels, Percentiles, is_about_one, measure, slab_depth
from contraband.quick.classical_settings import Classical
from contraband.volumes.channels import shown

log = logging.getLogger(__name__)

MIDDLE = (17, 129, 129)
"""Voxels in the middle of raw whose brightness is looked at."""


def brightness_remarks(raw: Volume, factor: float) -> Iterator[str]:
    """A line if raw in the middle of the volume, times `factor`, is not of the range that networks are trained on."""
    box = Roi((0, 0, 0), info(raw).spatial)
    around = (Coordinate(MIDDLE) - 1) / 2
    values = read(raw, Roi(box.center, (1, 1, 1)).grow(around, around).intersect(box))
    low = float(values.min())
    high = float(values.max())
    if not is_about_one(max(abs(low), abs(high)) * factor):
        seen = f"raw is {low:.6g} to {high:.6g} in the middle"
        yield f"{raw.path}: {seen}, and the network multiplies it by {factor:.6g}: not about 0..1"


def levels_of(raw: Volume, wanted: Percentiles | Classical | None, channels: Sequence[int]) -> Levels | None:
    """What becomes 0 and 1 in raw for percentiles or for rules; None where it is seen as it is stored."""
    if isinstance(wanted, Classical):
        return rules_levels(raw, wanted, channels)
    return volume_levels(raw, wanted, channels) if wanted is not None else None


def volume_levels(raw: Volume, wanted: Percentiles, channels: Sequence[int] = ()) -> Levels:
    """What becomes 0 and 1 in raw, in each of these channels if it has some; reads all of it once."""
    described = info(raw)
    sections, y, x = described.spatial
    images = images_in(described.attributes)
    depth = slab_depth(described.chunks[-3], y * x * described.dtype.itemsize * (described.channels or 1))

    def slab(low: int, high: int) -> np.ndarray:
        plane = (images[low].height, images[low].width) if images else (y, x)
        values = shown(read(raw, Roi((low, 0, 0), (high - low, *plane))), channels)
        check_finite(values, f"{raw.path}, sections {low} to {high - 1}", (low, 0, 0))
        return values if values.ndim == 4 else values[None]

    levels = measure(slab, sections, wanted, 1 if images else depth)  # what is beside an image is not counted
    if np.all(levels.values[..., 0] == levels.values[..., 1]):
        log.warning("%s: raw has no contrast: between the percentiles there is one value only", raw.path)
    return levels


def rules_levels(raw: Volume, rules: Classical, channels: Sequence[int] = ()) -> Levels:
    """What becomes 0 and 1 in raw for these rules; reads all of it if each section has its own."""
    if rules.levels is not None:
        return Levels(np.array([[rules.levels]], np.float32))
    from contraband.quick.levels import section_levels  # its kernels take time to load, and networks need none

    described = info(raw)
    images = images_in(described.attributes)
    found = []
    for place in range(described.spatial[0]):
        plane = (images[place].height, images[place].width) if images else described.spatial[1:]

        def rows_of(begin: int, end: int, place: int = place, width: int = plane[1]) -> np.ndarray:
            rows = shown(read(raw, Roi((place, begin, 0), (1, end - begin, width))), channels, is_mean=True)
            check_finite(rows, f"{raw.path}, section {place}", (place, begin, 0))
            one: np.ndarray = rows[0].astype(np.float32)
            return one

        found.append(section_levels(rows_of, plane, rules))
    return Levels(np.array([found], np.float32))


def array_levels(raw: np.ndarray, wanted: Percentiles) -> Levels:
    """What becomes 0 and 1 in an array ([C,] z, y, x)."""
    whole = raw if raw.ndim == 4 else raw[None]
    depth = slab_depth(64, whole[:, 0].nbytes)  # as chunks of a stored volume are deep
    return measure(lambda low, high: whole[:, low:high], whole.shape[1], wanted, depth)
