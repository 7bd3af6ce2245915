# mypy: allow-untyped-defs
"""Which neighbour a single voxel steps to: the rule in full, for the few voxels that need more than a comparison.

Directions are 0 for none and 1 to 6 as in `STEPS`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from blockwise.kernels.compiled import compiled, mix64

STEPS = ((0, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 0, -1), (1, 0, 0), (0, 1, 0), (0, 0, 1))


class Bars(NamedTuple):
    """Rules in the units of heights and affinities."""

    low: np.integer
    """The least affinity of a step, of the type of the affinities."""
    cap: np.int32
    """The height of tops."""
    weight: np.int32
    """What an affinity of 1 adds to the height it leads to."""
    dip: np.int32
    """How much lower the voxel between two peaks may be for them to be linked."""


@compiled
def _mixed(at, origin, shape):
    """What breaks ties: the index of the voxel in the volume, scrambled."""
    return mix64(np.uint64(((at[0] + origin[0]) * shape[1] + at[1] + origin[1]) * shape[2] + at[2] + origin[2]))


@compiled
def _neighbour(heights, affinities, axes, low, at, step):
    """The place a step leads to, its height and the affinity on the way; the height is -1 if there is no such step."""
    axis = (step - 1) % 3
    z = at[0] + STEPS[step][0]
    y = at[1] + STEPS[step][1]
    x = at[2] + STEPS[step][2]
    inside = 0 <= z < heights.shape[0] and 0 <= y < heights.shape[1] and 0 <= x < heights.shape[2]
    if not (axes[axis] and inside):
        return (z, y, x), np.int32(-1), np.int32(0)
    affinity = affinities[axis, max(z, at[0]), max(y, at[1]), max(x, at[2])]
    return (z, y, x), heights[z, y, x] if affinity >= low else np.int32(-1), np.int32(affinity)


@compiled
def best_step(heights, affinities, axes, bars, at, origin, shape):
    """The direction of the best of the higher neighbours, 0 if there is none or the voxel is a top or background.

    Higher is a larger (height, mix64 of the voxel index); the best has the largest height + weight * affinity.
    """
    own = heights[at]
    if own < 0 or own == bars.cap:
        return 0
    mix = _mixed(at, origin, shape)
    best = np.int64(-1)
    best_mix = np.uint64(0)
    direction = 0
    for step in range(1, 7):
        place, height, affinity = _neighbour(heights, affinities, axes, bars.low, at, step)
        if height < own:
            continue
        mixed = _mixed(place, origin, shape)
        value = np.int64(height) + bars.weight * affinity
        if (height > own or mixed > mix) and (value > best or (value == best and mixed > best_mix)):
            best = value
            best_mix = mixed
            direction = step
    return direction


@compiled
def bridge(heights, affinities, axes, bars, at, origin, shape):
    """The direction in which a voxel without higher neighbours gets to a higher voxel in two steps, or 0.

    The first step leads down by at most `dip`, the second is the one that the voxel there takes by itself. Of several
    the one that ends highest is taken; the first direction, if they end in the same voxel.
    """
    own, mix = heights[at], _mixed(at, origin, shape)
    best = own
    best_mix = mix
    direction = 0
    for step in range(1, 7):
        between, height, _ = _neighbour(heights, affinities, axes, bars.low, at, step)
        if height < 0 or height < own - bars.dip:
            continue
        onward = best_step(heights, affinities, axes, bars, between, origin, shape)
        if onward == 0:
            continue
        place, end, _ = _neighbour(heights, affinities, axes, bars.low, between, onward)
        mixed = _mixed(place, origin, shape)
        if end > best or (end == best and mixed > best_mix):
            best = end
            best_mix = mixed
            direction = step
    return direction
