"""How many voxels the smallest object may have: what is smaller joins a neighbour or becomes background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contraband.quick.classical import ClassicalPredictor
from contraband.quick.classical_settings import Classical, Kind
from contraband.volumes.start.planes import Section2D

LEAST_PEAK = 1.5
"""Voxels from the edge below which a piece is noise."""
SMALLEST: dict[Kind, float] = {"nuclei": 0.25, "cells": 0.25, "membranes": 1.0}
"""Width of the smallest object, as part of the usual one. Nuclei and cells vary, and what is smaller is mostly debris;
what lies between membranes is long, so that a ball as wide as it is only a short piece of it."""
MOST_SECTIONS = 8
"""In which membranes are looked for, since that takes longer than all else."""
MIDDLE = 0.5
"""How sure a voxel is of not being part of a membrane, from which on it is taken for none."""


def depths(inside: NDArray[np.bool_]) -> NDArray[np.floating]:
    """(n,) voxels: how far the middles of the pieces of a section (y, x) are from their edges."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    hills = ndimage.gaussian_filter(depth, 1.0)
    tops = (hills == ndimage.maximum_filter(hills, 7)) & (depth > LEAST_PEAK)
    found: NDArray[np.floating] = depth[tops]
    return found


def least_voxels(sections: Sequence[Section2D], rules: Classical) -> int:
    """Voxels of a disc, or in 3D of a ball, as wide as the smallest object; 0 if there is nothing to measure."""
    radius = SMALLEST[rules.kind] * (_half_way(sections, rules) if rules.kind == "membranes" else rules.radius)
    if rules.dims == 2:
        return round(np.pi * radius**2)
    return round(4 / 3 * np.pi * radius**3 * rules.z_scale)


def _half_way(sections: Sequence[Section2D], rules: Classical) -> float:
    """The median of half the way from one membrane to the next, in voxels; 0 if there are none."""
    flat = ClassicalPredictor(rules.model_copy(update={"dims": 2, "z_scale": 1.0}))
    low, high = rules.levels or (0.0, 1.0)
    around = [(reach, reach) for reach in flat.context]
    found: list[NDArray[np.floating]] = []
    for section in sections[:: -(-len(sections) // MOST_SECTIONS)]:
        stretched = (section[None] - np.float32(low)) / np.float32(high - low)
        affinities = flat(np.pad(stretched, around, mode="symmetric"))
        found.append(depths(affinities[:, 0].min(0) > MIDDLE))
    every = np.concatenate(found)
    return float(np.median(every)) if every.size else 0.0
