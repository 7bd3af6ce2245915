# mypy: allow-untyped-defs
"""A made-up tissue without end, whose voxels are computed from their place and a seed alone.

Threads are apart by membranes that are faint in places, and noise cuts them into fragments. Each voxel is computed by
the same steps, of which none may be rounded in two ways, so it has the same bytes whatever box is asked for.
"""

from __future__ import annotations

import numpy as np

from blockwise.grid import Voxels
from blockwise.kernels.compiled import compiled, mix64
from blockwise.kernels.synthetic.noise import fill_noise, knots_of
from blockwise.kernels.synthetic.threads import UNIT, fill_nearest, fill_thread, room_for, threads_of

INSIDE, OUTSIDE = 1.2, 3.4
"""Voxels from the middle of a membrane to where it begins to fade, and to where it has."""
FAINT_VX = 8
"""From one knot of the noise that makes membranes faint to the next."""
GRAINY_VX = 4
"""The same of the noise that cuts threads into fragments."""


def made_up_affinities(seed: int, begin: Voxels, end: Voxels) -> np.ndarray:
    """(3, Z, Y, X) uint8: affinities of the voxels from `begin` to `end` to the one before along z, y, x."""
    affinities = np.empty((3, *(high - low for low, high in zip(begin, end, strict=True))), np.uint8)
    _fill_affinities(np.uint64(seed), begin, affinities)
    return affinities


def made_up_labels(seed: int, begin: Voxels, end: Voxels) -> np.ndarray:
    """(Z, Y, X) uint64 from 1 on: the thread of each voxel, in one piece in the tissue without end."""
    labels = np.empty([high - low for low, high in zip(begin, end, strict=True)], np.uint64)
    _fill_labels(np.uint64(seed), begin, labels)
    return labels


@compiled
def _fill_labels(seed, begin, labels):
    row = room_for(labels.shape[2])
    for z in range(labels.shape[0]):
        threads = threads_of(seed, begin[0] + z, begin[1:], labels.shape[1:])
        for y in range(labels.shape[1]):
            at = fill_nearest(threads, begin[0] + z, begin[1] + y, begin[2], row)
            fill_thread(threads, begin[0] + z, begin[2], row)
            for x in range(labels.shape[2]):
                labels[z, y, x] = threads.number[at + row.up[x], row.column[x]]


@compiled
def _fill_affinities(seed, begin, affinities):
    """Plane by plane, with one voxel more before each axis; an affinity is what the thicker of two walls leaves."""
    depth, height, width = affinities.shape[1:]
    low = (begin[0] - 1, begin[1] - 1, begin[2] - 1)
    size = (depth + 1, height + 1, width + 1)
    faint = knots_of(mix64(seed + np.uint64(11)), low, size, FAINT_VX)
    grainy = knots_of(mix64(seed + np.uint64(12)), low, size, GRAINY_VX)
    above = np.empty((height + 1, width + 1), np.float32)
    here = np.empty_like(above)
    row = room_for(width + 1)
    for z in range(depth + 1):
        _fill_walls(seed, low, z, faint, grainy, row, here)
        if z:
            for y in range(1, height + 1):
                start = mix64(mix64(seed + np.uint64(low[0] + z)) + np.uint64(low[1] + y))
                _fill_levels(start, low[2] + 1, here[y], above[y], here[y - 1], affinities[:, z - 1, y - 1])
        above, here = here, above


@compiled
def _fill_levels(start, first, here, above, behind, levels):
    """A row of all three affinities; rows of walls have one voxel more before."""
    for x in range(levels.shape[1]):
        wall = here[x + 1]
        grain = mix64(start + np.uint64(first + x))
        levels[0, x] = _level(wall, above[x + 1], grain)
        levels[1, x] = _level(wall, behind[x + 1], grain >> np.uint64(16))
        levels[2, x] = _level(wall, here[x], grain >> np.uint64(32))


@compiled
def _level(wall, other, grain):
    """The affinity over two walls (0 to 255), up to 8 levels off by the low bits of `grain`."""
    off = np.float32(np.int32(grain & np.uint64(0xFF))) * np.float32(1 / 16) + np.float32(247.5)
    left = off - (wall if wall > other else other)
    left = left if left > np.float32(0) else np.float32(0)
    return np.uint8(np.int32(left if left < np.float32(255) else np.float32(255)))


@compiled
def _fill_walls(seed, low, z, faint, grainy, row, walls):
    """How much of a membrane each voxel of plane `z` of the box is, 0 to 255 and a little beyond."""
    threads = threads_of(seed, low[0] + z, low[1:], walls.shape)
    for y in range(walls.shape[0]):
        at = fill_nearest(threads, low[0] + z, low[1] + y, low[2], row)
        fill_thread(threads, low[0] + z, low[2], row)
        fill_noise(faint, FAINT_VX, low, z, y, row.faint)
        fill_noise(grainy, GRAINY_VX, low, z, y, row.grainy)
        for x in range(walls.shape[1]):
            row.end[x] = threads.end[at + row.up[x], row.column[x]]
        for x in range(walls.shape[1]):
            # The distance to the face between the two nearest threads, about.
            depth = (np.sqrt(np.float32(row.second[x])) - np.sqrt(np.float32(row.best[x]))) * np.float32(0.125 / UNIT)
            depth = depth if depth < row.end[x] else row.end[x]
            share = (np.float32(OUTSIDE) - depth) * np.float32(1 / (OUTSIDE - INSIDE))
            share = share if share > np.float32(0) else np.float32(0)
            share = share if share < np.float32(1) else np.float32(1)
            ramp = share * share * (np.float32(3) - share - share)
            strength = np.float32(1.05) + np.float32(1.2) * row.faint[x]
            strength = strength if strength > np.float32(0.15) else np.float32(0.15)
            strength = strength if strength < np.float32(1) else np.float32(1)
            walls[y, x] = np.float32(255) * ramp * strength + np.float32(70) * row.grainy[x]
