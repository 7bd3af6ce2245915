"""Classes of labelled voxels, and the affinities that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.models.classes import CLASSES, INSIDE, affinities_of

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -2, 1), (1, 0, -4), (-9, 0, 0))


def test_inside_is_class_1():
    """Points store background as 0, inside as 1, boundary as 2."""
    assert CLASSES == ("background", "inside", "boundary")
    assert INSIDE == 1


@pytest.mark.parametrize("shape", [(3, 5, 6), (1, 4, 4), (2, 1, 9)])
def test_an_affinity_is_the_smaller_of_two_probabilities(shape):
    """Each channel of each voxel is the smaller probability of the two that it joins, and 0 beyond the edge."""
    inside = np.random.default_rng(0).random(shape, dtype=np.float32)
    affinities = affinities_of(inside, OFFSETS)
    assert affinities.shape == (len(OFFSETS), *shape)
    assert affinities.dtype == np.float32
    for channel, offset in zip(affinities, OFFSETS, strict=True):
        for voxel in np.ndindex(shape):
            other = tuple(at + step for at, step in zip(voxel, offset, strict=True))
            within = all(0 <= at < size for at, size in zip(other, shape, strict=True))
            assert channel[voxel] == (min(inside[voxel], inside[other]) if within else 0)
