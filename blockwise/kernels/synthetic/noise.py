# mypy: allow-untyped-defs
"""Noise that belongs to a place: the same in whatever box it is asked for."""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled, mix64


@compiled
def knots_of(seed, low, size, spacing):
    """float32 in [-1, 1) at the knots around a box, every `spacing` voxels, (z, y, x)."""
    first = (low[0] // spacing, low[1] // spacing, low[2] // spacing)
    knots = np.empty(
        (
            (low[0] + size[0] - 1) // spacing + 2 - first[0],
            (low[1] + size[1] - 1) // spacing + 2 - first[1],
            (low[2] + size[2] - 1) // spacing + 2 - first[2],
        ),
        np.float32,
    )
    for z in range(knots.shape[0]):
        for y in range(knots.shape[1]):
            row = mix64(mix64(seed + np.uint64(first[0] + z)) + np.uint64(first[1] + y))
            for x in range(knots.shape[2]):
                bits = mix64(row + np.uint64(first[2] + x)) >> np.uint64(41)
                knots[z, y, x] = np.float32(np.int64(bits)) * np.float32(2.0**-22) - np.float32(1)
    return knots


@compiled
def fill_noise(knots, spacing, low, z, y, row):
    """The noise of a row of the box, between its knots along each axis in turn.

    z, y: of the row in the box, which begins at `low`. row: (X,) float32, filled.
    """
    at_z, at_y = (low[0] + z) // spacing, (low[1] + y) // spacing
    share_z = np.float32(low[0] + z - at_z * spacing) / np.float32(spacing)
    share_y = np.float32(low[1] + y - at_y * spacing) / np.float32(spacing)
    at_z -= low[0] // spacing
    at_y -= low[1] // spacing
    along = np.empty(knots.shape[2], np.float32)
    for x in range(along.size):
        here = knots[at_z, at_y, x] + (knots[at_z, at_y + 1, x] - knots[at_z, at_y, x]) * share_y
        below = knots[at_z + 1, at_y, x] + (knots[at_z + 1, at_y + 1, x] - knots[at_z + 1, at_y, x]) * share_y
        along[x] = here + (below - here) * share_z
    at, knot = 0, 0
    since = low[2] - (low[2] // spacing) * spacing
    while at < row.size:
        left = along[knot]
        slope = (along[knot + 1] - left) * (np.float32(1) / np.float32(spacing))
        stop = min(row.size, at + spacing - since)
        for x in range(at, stop):
            row[x] = left + slope * np.float32(np.int32(since + x - at))
        at, since, knot = stop, 0, knot + 1
