"""Arrays lie where their voxel size, offset and unit say, and what does not fit is refused with both places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.placement import Placement, covering, place_in, read_placed
from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from tests.support.volumes import store_volume

SHAPE: Voxels = (8, 20, 24)
SIZE = [40.0, 4.0, 4.0]
OFFSET = [400.0, -40.0, 80.0]


@pytest.fixture
def space(tmp_path: Path) -> Volume:
    """The volume that is segmented."""
    return store_volume(tmp_path / "space", np.zeros(SHAPE, np.uint8), voxel_size=SIZE, offset=OFFSET)


def other(tmp_path: Path, shape: Voxels, size: list[float], offset: list[float], unit: str = "nm") -> Volume:
    """An array of the given place."""
    data = np.ones(shape, np.uint8)
    return store_volume(tmp_path / "other", data, voxel_size=size, offset=offset, units=[unit] * 3)


@pytest.mark.parametrize(
    ("shape", "size", "offset", "unit", "begin"),
    [
        (SHAPE, SIZE, OFFSET, "nm", (0, 0, 0)),
        ((4, 6, 7), SIZE, [480.0, -20.0, 88.0], "nm", (2, 5, 2)),
        ((16, 40, 50), SIZE, [240.0, -80.0, 40.0], "nm", (-4, -10, -10)),
        (SHAPE, [0.04, 0.004, 0.004], [0.4, -0.04, 0.08], "um", (0, 0, 0)),
        (SHAPE, [40.002, 4.0001, 3.9999], [400.001, -40.0, 80.01], "nm", (0, 0, 0)),
        (SHAPE, [float(np.float32(0.04)), *[float(np.float32(0.004))] * 2], [0.44, -0.04, 0.08], "um", (1, 0, 0)),
    ],
    ids=["same", "smaller", "larger", "other unit", "rounded", "float32"],
)
def test_an_array_lies_where_its_attributes_say(
    shape: Voxels, size: list[float], offset: list[float], unit: str, begin: Voxels, space: Volume, tmp_path: Path
) -> None:
    """In voxels of the volume that is segmented, whatever the unit of either, and with rounded numbers."""
    assert place_in(other(tmp_path, shape, size, offset, unit), space) == Placement(begin=begin)


@pytest.mark.parametrize(
    ("size", "offset", "unit", "message"),
    [
        (SIZE, OFFSET, "um", "has a different voxel size; got voxels of 40, 4, 4 um"),
        ([40.0, 4.0, 4.001], OFFSET, "nm", "has a different voxel size"),
        ([80.0, 8.0, 8.0], OFFSET, "nm", "has a different voxel size"),
        (SIZE, OFFSET, "vx", "unit cannot be compared"),
        (SIZE, [400.0, -40.0, 82.0], "nm", "does not begin at a whole voxel"),
        (SIZE, [720.0, -40.0, 80.0], "nm", "has no voxel in common"),
        (SIZE, [80.0, -40.0, 80.0], "nm", "has no voxel in common"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_places(
    size: list[float], offset: list[float], unit: str, message: str, space: Volume, tmp_path: Path
) -> None:
    """Other voxels, half a voxel between, or nothing in common: one line with where both lie."""
    with pytest.raises(BadInput, match=f"{message}.* wanted voxels of 40, 4, 4 nm from 400, -40, 80 to 720, 40, 176"):
        place_in(other(tmp_path, SHAPE, size, offset, unit), space)


@pytest.mark.parametrize(
    ("shape", "size", "offset", "wanted"),
    [
        (SHAPE, SIZE, OFFSET, None),
        ((9, 20, 24), SIZE, OFFSET, Placement()),
        ((10, 22, 26), SIZE, [320.0, -48.0, 72.0], Placement(begin=(-2, -2, -2))),
        ((4, 5, 12), [80.0, 16.0, 8.0], OFFSET, Placement(factor=(2, 4, 2))),
        ((2, 6, 8), [120.0, 12.0, 12.0], OFFSET, Placement(factor=(3, 3, 3))),
        ((8, 6, 7), [40.0, 16.0, 16.0], [400.0, -52.0, 72.0], Placement(begin=(0, -3, -2), factor=(1, 4, 4))),
    ],
    ids=["same", "longer", "around", "coarser", "rest dropped", "coarser, shifted"],
)
def test_a_mask_may_be_larger_and_coarser(
    shape: Voxels, size: list[float], offset: list[float], wanted: Placement | None, space: Volume, tmp_path: Path
) -> None:
    """Exactly on the volume is no placement at all, so that nothing changes for such runs."""
    assert covering(other(tmp_path, shape, size, offset), space) == wanted


@pytest.mark.parametrize(
    ("shape", "size", "offset", "message"),
    [
        ((7, 20, 24), SIZE, OFFSET, "does not cover the volume"),
        (SHAPE, SIZE, [440.0, -40.0, 80.0], "does not cover the volume"),
        ((4, 4, 12), [80.0, 16.0, 8.0], OFFSET, "does not cover the volume"),
        (SHAPE, [20.0, 4.0, 4.0], OFFSET, "neither the voxel size of the volume nor whole multiples"),
        ((4, 10, 12), [80.0, 8.0, 10.0], OFFSET, "neither the voxel size of the volume nor whole multiples"),
    ],
    ids=["smaller", "shifted", "coarser and smaller", "finer", "no whole factor"],
)
def test_a_mask_that_does_not_cover_the_volume_is_refused(
    shape: Voxels, size: list[float], offset: list[float], message: str, space: Volume, tmp_path: Path
) -> None:
    """What it would say of the rest is not known."""
    with pytest.raises(BadInput, match=f"{message}; got .*, wanted voxels of 40, 4, 4 nm from 400"):
        covering(other(tmp_path, shape, size, offset), space)


@pytest.mark.parametrize("block", [SHAPE, (1, 4, 1), (3, 7, 5), (8, 1, 9), (5, 20, 11)], ids=str)
@pytest.mark.parametrize(
    "placed",
    [
        Placement(),
        Placement(begin=(-2, -1, 0)),
        Placement(factor=(2, 4, 3)),
        Placement(begin=(-1, -3, -2), factor=(3, 4, 5)),
        Placement(factor=(3, 3, 7)),
    ],
    ids=["on it", "around", "coarser", "coarser, shifted", "rest dropped"],
)
def test_a_coarse_array_is_the_same_in_all_blocks(placed: Placement, block: Voxels, tmp_path: Path) -> None:
    """Read in any blocks, it is the array with each voxel repeated, cut to the volume; its last voxels go on."""
    data = np.random.default_rng(0).integers(0, 255, (12, 22, 25), np.uint8)
    axes = zip(SHAPE, placed.begin, placed.factor, strict=True)
    data = data[tuple(slice((size - begin) // step) for size, begin, step in axes)]
    wanted = data
    for axis, (begin, step, size) in enumerate(zip(placed.begin, placed.factor, SHAPE, strict=True)):
        wanted = np.repeat(wanted, step, axis).take(range(-begin, wanted.shape[axis] * step), axis)
        rest = [(0, max(0, size - wanted.shape[axis])) if one == axis else (0, 0) for one in range(3)]
        wanted = np.pad(wanted, rest, "edge").take(range(size), axis)
    volume = store_volume(tmp_path / "mask", data)
    found = np.zeros(SHAPE, np.uint8)
    for corner in np.ndindex(*(-(-size // step) for size, step in zip(SHAPE, block, strict=True))):
        low = np.array(corner) * block
        roi = Roi(low, np.minimum(low + block, SHAPE) - low)
        found[roi.to_slices()] = read_placed(volume, placed, roi)
    assert np.array_equal(found, wanted)
