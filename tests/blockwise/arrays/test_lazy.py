"""A lazy volume is sliced like a numpy array, and reads no more than it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.lazy import LazyVolume
from blockwise.arrays.volume import info, read
from tests.support.volumes import store_volume

SHAPE = (7, 9, 11)
INDICES = [
    (),
    ...,
    2,
    -1,
    slice(2, 5),
    (slice(None), 4),
    (..., 10),
    (slice(None, None, 3), slice(6, 1, -2), slice(None, None, -1)),
    (2, 3, 4),
    (np.int64(2), slice(0, 0)),
    (slice(5, 2), ...),
    (slice(-3, None), ..., slice(-100, 100)),
    slice(100, 200),
]


@pytest.fixture(params=[SHAPE, (3, *SHAPE)], ids=["z y x", "channel z y x"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[np.ndarray, LazyVolume, list[Roi]]:
    """The same numbers in memory and on disk, and the regions that were read."""
    data = np.random.default_rng(0).integers(0, 255, request.param).astype(np.uint8)
    volume = store_volume(tmp_path / "a.zarr" / "a", data, (4, 4, 4), voxel_size=[8, 4, 4], units=["nm"] * 3)
    regions: list[Roi] = []

    def load(region: Roi) -> np.ndarray:
        regions.append(region)
        return read(volume, region)

    return data, LazyVolume(info(volume), load), regions


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_slices_are_those_of_numpy(pair, index):
    """Whole numbers, slices with any step, dots: shape, type and numbers are the same."""
    data, lazy, _ = pair
    found = lazy[index]
    assert found.dtype == data.dtype
    assert found.shape == data[index].shape
    assert np.array_equal(found, data[index])


def test_only_what_is_asked_for_is_read(pair):
    """The smallest box around the slices, once; nothing for an empty one."""
    data, lazy, regions = pair
    assert lazy[..., 2:6:3, 8, 1:3].shape == data[..., 2:6:3, 8, 1:3].shape
    assert regions == [Roi((2, 8, 1), (4, 1, 2))]
    assert lazy[..., 3:3, :, :].size == 0
    assert len(regions) == 1


@pytest.mark.parametrize(
    "index", [100, -100, (0,) * 5, (..., 0, ...), [0, 1], np.zeros(SHAPE, bool), "a", 1.5], ids=str
)
def test_what_cannot_be_selected_is_an_error(pair, index):
    """Outside, too many axes, lists and masks: an error as numpy has it, and nothing is read."""
    _, lazy, regions = pair
    with pytest.raises((IndexError, TypeError)):
        _ = lazy[index]
    assert not regions


def test_it_is_an_array_for_others(pair):
    """numpy, iteration and Dask take it for the array it stands for; it describes itself."""
    import dask.array

    data, lazy, _ = pair
    assert (lazy.shape, lazy.dtype, lazy.ndim, lazy.size, len(lazy)) == (
        data.shape,
        data.dtype,
        data.ndim,
        data.size,
        len(data),
    )
    assert np.array_equal(np.asarray(lazy), data)
    assert np.asarray(lazy, dtype=np.float32).dtype == np.float32
    assert np.array_equal(np.stack(list(lazy)), data)
    assert int(dask.array.from_array(lazy, chunks="auto").sum().compute()) == int(data.sum())
    assert lazy.voxel_size == (8, 4, 4)
    assert repr(lazy) == f"LazyVolume({'x'.join(map(str, data.shape))} uint8, voxel size 8 nm, 4 nm, 4 nm)"
