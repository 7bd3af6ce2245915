"""Fragments that were looked at stay in memory, and are the same from there."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.volumes.view.kept import BLOCK_VX, KeptFragments, packed

SHAPE = (70, 150, 200)


@pytest.fixture
def stored():
    """Large numbers and background in small cubes."""
    random = np.random.default_rng(3)
    cubes = random.integers(0, 2**60, [-(-size // 4) for size in SHAPE], dtype=np.uint64)
    cubes[random.random(cubes.shape) < 0.3] = 0
    return cubes.repeat(4, 0).repeat(4, 1).repeat(4, 2)[tuple(slice(size) for size in SHAPE)]


class Counted:
    """An array that notes what was read of it."""

    def __init__(self, array):
        self.array = array
        self.read = []

    def __call__(self, region):
        self.read.append(region)
        return self.array[region]


@pytest.mark.parametrize("factor", [(1, 1, 1), (1, 2, 2), (3, 1, 4)])
def test_any_region_is_that_of_the_array(stored, factor):
    """Within a block, over several, and at the end of the volume; in steps, the first voxels of each."""
    kept = KeptFragments(Counted(stored), SHAPE)
    coarse = stored[tuple(slice(None, None, by) for by in factor)]
    random = np.random.default_rng(7)
    for _ in range(20):
        ends = np.sort(random.integers(0, [size + 1 for size in coarse.shape], (2, 3)), axis=0)
        region = tuple(slice(*pair) for pair in ends.T)
        assert (kept.region(*ends, factor) == coarse[region]).all()
    whole = kept.region(np.zeros(3, int), np.array(coarse.shape), factor)
    assert (whole == coarse).all()


def test_what_was_looked_at_is_not_read_again(stored):
    """The planes of a block come together, until all is forgotten."""
    load = Counted(stored)
    kept = KeptFragments(load, SHAPE)
    for z in range(BLOCK_VX):
        kept.region(np.array([z, 0, 0]), np.array([z + 1, *SHAPE[1:]]), (1, 1, 1))
    assert len(load.read) == len({str(region) for region in load.read}) == 3 * 4
    kept.forget()
    kept.region(np.zeros(3, int), np.ones(3, int), (1, 1, 1))
    assert len(load.read) == 3 * 4 + 1


def test_no_more_is_kept_than_allowed(stored, monkeypatch):
    """What was not looked at for longest goes first."""
    load = Counted(stored)
    kept = KeptFragments(load, SHAPE)
    blocks = [np.array([0, 0, at * BLOCK_VX]) for at in range(3)]
    sizes = [packed(stored[:64, :64, at * 64 : at * 64 + 64]).nbytes for at in range(3)]
    monkeypatch.setattr("contraband.volumes.view.kept.KEPT_BYTES", 2 * max(sizes))
    for place in (0, 1, 0, 2, 0, 1):
        kept.region(blocks[place], blocks[place] + 1, (1, 1, 1))
    assert [region[2].start // BLOCK_VX for region in load.read] == [0, 1, 2, 1]


def test_two_bytes_a_voxel(stored):
    """As long as a block has fewer than 65,536 fragments, as it nearly always has; and one if it has few."""
    assert packed(stored[:64, :64, :64]).places.dtype == np.uint16
    few = packed(stored[:8, :8, :8])
    assert few.places.dtype == np.uint8
    assert (few.fragments[few.places] == stored[:8, :8, :8]).all()
    many = np.arange(70_000, dtype=np.uint64).reshape(1, 1, -1)
    assert (packed(many).fragments[packed(many).places] == many).all()
