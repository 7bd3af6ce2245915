"""The classes that people label voxels with, and the affinities that follow from a probability of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CLASSES = ("background", "inside", "boundary")
"""A class is its place here: 0, 1, 2, as points and label volumes store it; -1 is not labelled."""

INSIDE = CLASSES.index("inside")
"""Inside of an object. Membranes alone need two classes: this and boundary."""


def affinities_of(inside: NDArray[np.floating], offsets: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Affinities (K, z, y, x) float32 in [0, 1]: channel k of voxel v is the smaller of v and of v + offsets[k].

    inside: (z, y, x), the probability that a voxel lies inside of an object. Two voxels belong together if neither is
    boundary or background, so nothing is said of objects that touch without a boundary between them. Where
    v + offsets[k] lies outside of the volume the affinity is 0.
    """
    result = np.zeros((len(offsets), *inside.shape), np.float32)
    for channel, offset in zip(result, offsets, strict=True):
        steps = list(zip(offset, inside.shape, strict=True))
        here = tuple(slice(max(0, -step), max(0, size - max(0, step))) for step, size in steps)
        there = tuple(slice(max(0, step), max(0, size + min(0, step))) for step, size in steps)
        channel[here] = np.minimum(inside[here], inside[there])
    return result
