"""Pieces of arrays at any factor, from a pyramid where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from blockwise.arrays.volume import Volume
from contraband.volumes.view.pieces import StoredPieces
from contraband.volumes.view.sampling import SAMPLE_VX, contrast, look, spread
from tests.support.volumes import store_volume


def whole_at(pieces, factor):
    end = np.array([-(-size // by) for size, by in zip(pieces.shape, factor, strict=True)])
    return pieces.piece(np.zeros_like(end), end, factor)


def pyramid(folder, shapes):
    """An OME-Zarr image whose levels are full of 1, 2, 3, ..., so that it shows which was read."""
    levels = []
    for place, shape in enumerate(shapes):
        size = tuple(2.0**place if along > shape[axis] else 1.0 for axis, along in enumerate(shapes[0]))
        volume = Volume(path=folder / f"s{place}")
        store_volume(volume.path, np.full(shape, place + 1, np.uint8), (8, 8, 8), voxel_size=size)
        levels.append({"path": f"s{place}", "coordinateTransformations": [{"type": "scale", "scale": list(size)}]})
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    group = zarr.open_group(folder, mode="a")
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    return Volume(path=folder / "s0")


def test_a_piece_is_the_mean_of_an_image(tmp_path):
    """Two by two voxels of an image become their mean, and of numbers the first is taken."""
    data = np.arange(4 * 6 * 8, dtype=np.uint8).reshape(4, 6, 8)
    volume = store_volume(tmp_path / "a.zarr" / "raw", data)
    means = data.reshape(4, 3, 2, 4, 2).mean((2, 4))
    assert np.abs(whole_at(StoredPieces(volume, is_image=True), (1, 2, 2)) - means).max() <= 0.5
    assert (whole_at(StoredPieces(volume, is_image=False), (1, 2, 2)) == data[:, ::2, ::2]).all()


@pytest.mark.parametrize(
    ("factor", "level"),
    [((1, 1, 1), 1), ((1, 2, 2), 2), ((2, 2, 2), 2), ((2, 4, 4), 3), ((4, 8, 8), 3), ((1, 2, 1), 1)],
)
def test_the_coarsest_level_that_fits_is_read(tmp_path, factor, level):
    """Of a pyramid, a piece is made from the level with the fewest voxels that has all that is asked for."""
    volume = pyramid(tmp_path / "image.zarr", [(8, 32, 32), (8, 16, 16), (4, 8, 8)])
    pieces = StoredPieces(volume, is_image=True)
    found = whole_at(pieces, factor)
    assert (found == level).all()
    assert found.shape == tuple(-(-size // by) for size, by in zip(pieces.shape, factor, strict=True))
    assert pieces.coarsest == 64 * 32


@pytest.mark.parametrize("half", [15, 16])
def test_levels_may_be_rounded_up_or_down(tmp_path, half):
    """31 voxels halved are 15 or 16; a piece has 16 in both cases."""
    volume = pyramid(tmp_path / "image.zarr", [(8, 31, 31), (8, half, half)])
    assert whole_at(StoredPieces(volume, is_image=True), (1, 2, 2)).tolist() == np.full((8, 16, 16), 2).tolist()


def test_what_is_no_level_is_left_out(tmp_path):
    """A further array whose size is no whole part, or that is gone, is not used."""
    volume = pyramid(tmp_path / "image.zarr", [(8, 32, 32), (8, 9, 9)])
    assert StoredPieces(volume, is_image=True).coarsest == 64
    (tmp_path / "image.zarr" / "s1").rename(tmp_path / "elsewhere")
    assert StoredPieces(volume, is_image=True).coarsest == 64


def test_contrast_is_where_the_image_is(tmp_path):
    """An image of 16 bits that uses some hundred values is stretched between them; outliers do not count."""
    data = np.random.default_rng(0).integers(3000, 3200, (20, 100, 100)).astype(np.uint16)
    data[0, 0, 0] = 65535
    low, high = contrast(store_volume(tmp_path / "a.zarr" / "raw", data))
    assert 3000 <= low < 3010 < 3190 < high <= 3200
    low, high = contrast(store_volume(tmp_path / "b.zarr" / "raw", np.full((4, 4, 4), 7, np.uint16)))
    assert (low, high) == (7, 8)


def test_samples_are_spread_to_the_ends():
    """The first and the last voxel of a large volume are among those sampled; a small one is sampled once."""
    corners = spread((1000, 2000, 3000), SAMPLE_VX, 3)
    assert len(corners) == 27
    assert corners[0] == (0, 0, 0)
    assert corners[-1] == tuple(size - step for size, step in zip((1000, 2000, 3000), SAMPLE_VX, strict=True))
    assert spread((4, 4, 4), SAMPLE_VX, 3) == [(0, 0, 0)]


def test_objects_are_counted_where_they_are():
    """All voxels of a small volume are counted; of a large one 64 blocks, and the share says how many that is."""
    data = np.random.default_rng(0).integers(0, 9, (70, 65, 10)).astype(np.uint64)
    seen = look(lambda region: data[region], data.shape)
    assert seen.share == 1
    assert seen.fragment.tolist() == list(range(1, 9))
    assert seen.voxels.tolist() == [(data == number).sum() for number in range(1, 9)]
    assert (data[tuple(seen.place.T)] == seen.fragment).all()
    large = look(lambda region: np.ones([one.stop - one.start for one in region], np.uint64), (1280, 640, 640))
    assert large.voxels.tolist() == [64**4]
    assert large.share == pytest.approx(64**4 / (1280 * 640 * 640))
