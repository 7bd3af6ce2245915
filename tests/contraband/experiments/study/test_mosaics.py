"""Tiles of one mosaic are found by their borders, and stay together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from contraband.experiments.study.mosaics import deal, mosaics
from tests.support.paths import SHARED_DATA


def tiles(seed: int, rows: int, columns: int, size: int = 96) -> np.ndarray:
    """A smooth random picture, cut into rows x columns tiles (n, size, size) uint8."""
    picture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(rows * size, columns * size)), 3)
    picture = np.interp(picture, (picture.min(), picture.max()), (0, 255)).astype(np.uint8)
    return picture.reshape(rows, size, columns, size).swapaxes(1, 2).reshape(-1, size, size)


def test_shuffled_tiles_find_their_mosaic():
    """Tiles of three pictures in any order, one of them a single tile, are put together as they were cut."""
    pictures = [tiles(0, 2, 3), tiles(1, 3, 2), tiles(2, 1, 1)]
    of = np.repeat([0, 1, 2], [6, 6, 1])
    order = np.random.default_rng(3).permutation(13)
    found = mosaics(np.concatenate(pictures)[order], 0.9)
    pairs = found[:, None] == found[None]
    assert (pairs == (of[order][:, None] == of[order][None])).all()
    assert found[0] == 0
    assert set(found) == {0, 1, 2}


def test_borders_of_one_value_join_nothing():
    """Black images are no mosaic."""
    assert len(set(mosaics(np.zeros((4, 8, 8), np.uint8), 0.9))) == 4


@pytest.mark.parametrize("seed", range(5))
def test_a_mosaic_is_never_divided(seed):
    """Of random groups every one lies in one region, every region has images, and about as many as its share."""
    random = np.random.default_rng(seed)
    groups = np.unique(random.integers(0, 30, 200), return_inverse=True)[1]
    region = deal(groups, (0.5, 0.2, 0.3), seed)
    assert all(len(set(region[groups == group])) == 1 for group in set(groups))
    assert np.bincount(region) / 200 == pytest.approx([0.5, 0.2, 0.3], abs=0.06)


def test_three_mosaics_fill_three_regions():
    """However unlike in size, each region gets one."""
    assert set(deal(np.repeat([0, 1, 2], [90, 5, 5]), (0.5, 0.2, 0.3), 0)) == {0, 1, 2}


@pytest.mark.real_data("dsb_256x256.npz", "dsb_360x360.npz")
@pytest.mark.parametrize(("name", "images", "groups"), [("dsb_256x256", 334, 122), ("dsb_360x360", 90, 10)])
def test_nuclei_are_joined_to_their_mosaics(name, images, groups):
    """The tiles of the published nuclei make these many mosaics; both sets are tiles."""
    with np.load(SHARED_DATA / f"{name}.npz") as file:
        found = mosaics(file["raw"], 0.9)
    assert (len(found), found.max() + 1) == (images, groups)
