"""Random numbers that belong to a place: the same wherever and in whatever pieces they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Corner = Sequence[int]


def uniform(seed: int, begin: Corner, shape: Corner) -> np.ndarray:
    """(Z, Y, X) float32 in [0, 1): an independent number for each voxel from `begin` on; any begin, also negative."""
    z, y, x = (
        np.arange(low, low + count, dtype=np.int64).view(np.uint64) for low, count in zip(begin, shape, strict=True)
    )
    start = _mix(np.array([seed], np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    rows = _mix(_mix(z + start)[:, None] ^ (y * np.uint64(0xD1342543DE82EF95))[None, :])
    bits = _mix(rows[:, :, None] + (x * np.uint64(0xAF251AF3B0F025B5))[None, None, :])
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def smooth(seed: int, begin: Corner, shape: Corner, spacing: float) -> np.ndarray:
    """(Z, Y, X) float32, mean 0 and deviation about 1: bumps about `spacing` voxels wide."""
    places = [np.arange(low, low + count) / spacing for low, count in zip(begin, shape, strict=True)]
    first = [int(np.floor(place[0])) - 1 for place in places]
    counts = [int(np.floor(place[-1])) + 3 - low for place, low in zip(places, first, strict=True)]
    values = uniform(seed, first, counts) - np.float32(0.5)
    for axis, (place, low) in enumerate(zip(places, first, strict=True)):
        knot = np.floor(place)
        # Four terms in a fixed order, not a matrix product: the last bit must not depend on the shape asked for.
        weights = _spline((place - knot).astype(np.float32))
        index = knot.astype(np.int64) - low - 1
        along = [-1 if other == axis else 1 for other in range(3)]
        taken = [weight.reshape(along) * values.take(index + k, axis) for k, weight in enumerate(weights)]
        values = taken[0] + taken[1] + taken[2] + taken[3]
    # Each axis leaves 0.69 of the knots' deviation, which is sqrt(1 / 12): together 1 / 10.5.
    return values * np.float32(10.5)


def _spline(share: np.ndarray) -> list[np.ndarray]:
    """Weights of the two knots before and the two after a place that lies `share` of the way between two knots."""
    rest = 1 - share
    return [
        rest**3 / 6,
        2 / 3 - share**2 + share**3 / 2,
        2 / 3 - rest**2 + rest**3 / 2,
        share**3 / 6,
    ]


def _mix(values: np.ndarray) -> np.ndarray:
    """Scrambles 64-bit numbers (the finishing steps of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
