"""Skeletons that do not lie in the volume are refused with what was probably mistaken; some nodes may lie outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blockwise.arrays.info import Info
from blockwise.arrays.volume import info
from blockwise.errors import BadInput
from blockwise.stages.evaluate.placing import check_place, doubt_of_place
from blockwise.stages.evaluate.skeletons import Skeletons
from tests.support.volumes import store_volume


def in_space(tmp_path: Path, places: np.ndarray, unit: str = "nm", scale: float = 1.0) -> tuple[Skeletons, Info]:
    """A chain of nodes at z, y, x, and a volume of 20 x 100 x 120 voxels of 40, 4, 4 at 400, -40, 80."""
    volume = store_volume(
        tmp_path / "space",
        np.zeros((20, 100, 120), np.uint8),
        voxel_size=[size * scale for size in (40, 4, 4)],
        offset=[at * scale for at in (400, -40, 80)],
        units=[unit] * 3,
    )
    edges = np.stack([np.arange(len(places) - 1), np.arange(1, len(places))], 1)
    return Skeletons(places, edges, np.zeros(len(places), np.int64)), info(volume)


INSIDE = np.linspace((420, 0, 100), (1100, 340, 540), 30)
VOXELS = (INSIDE - (400, -40, 80)) / (40, 4, 4)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (INSIDE[:, ::-1], "no node lies in the volume; .*x and z exchanged"),
        (INSIDE / 1e3, "no node lies in the volume; .*seem to be in um: give them in nm"),
        (INSIDE[:, ::-1] / 1e3, "seem to be in um with x and z exchanged"),
        (INSIDE * 1e6, "no node lies in the volume; .*check their unit"),
        (VOXELS, "no node lies in the volume; .*seem to be in voxels"),
        (INSIDE - (400, -40, 80) + (0, 1e4, 0), "no node lies in the volume; .*check"),
        (np.linspace(INSIDE[0], 5 * INSIDE[-1], 30), "most nodes lie outside of the volume; got .* of 30 nodes"),
        (np.array([(420.0, 0, 100)] * 5), "all 5 nodes lie in a few voxels; got 1 x 1 x 1"),
    ],
    ids=["x and z exchanged", "um", "um and exchanged", "too large", "voxels", "elsewhere", "mostly", "one voxel"],
)
def test_skeletons_that_do_not_fit_are_refused_with_the_likely_cause(
    places: np.ndarray, message: str, tmp_path: Path
) -> None:
    """Most nodes outside, or all in a few voxels: another unit, another order of axes, or voxels instead of lengths."""
    skeletons, space = in_space(tmp_path, places)
    with pytest.raises(BadInput, match=message):
        check_place(skeletons, space, Path("a.swc"))


def test_micrometres_at_the_origin_are_told_from_nanometres(tmp_path: Path) -> None:
    """Where the volume begins at 0, all nodes of a neuron in um lie in its first voxels: that is no good score."""
    volume = store_volume(tmp_path / "raw", np.zeros((8, 24, 32), np.uint8), voxel_size=[40.0] * 3)
    places = np.linspace((0.16, 0.4, 0.04), (0.16, 0.4, 1.16), 29)
    skeletons = Skeletons(places, np.zeros((0, 2), np.int64), np.zeros(29, np.int64))
    with pytest.raises(BadInput, match=r"all 29 nodes lie in a few voxels; .*in um: give them in nm"):
        check_place(skeletons, info(volume), Path("a.swc"))


@pytest.mark.parametrize(
    ("size", "unit", "refused"), [((40.0, 4.0, 4.0), "nm", True), ((8.0,) * 3, "nm", True), ((1.0,) * 3, "um", False)]
)
def test_numbers_of_voxels_at_the_origin_are_told_from_lengths(
    size: tuple[float, ...], unit: str, refused: bool, tmp_path: Path
) -> None:
    """Where the volume begins at 0, nodes in voxels lie in it too, in a corner: that they would fill it shows them."""
    volume = store_volume(tmp_path / "raw", np.zeros((20, 100, 120), np.uint8), voxel_size=[*size], units=[unit] * 3)
    space = info(volume)
    voxels = np.linspace((1, 2, 3), (19, 97, 118), 30)
    for places, is_wrong in ((voxels, refused), (voxels * size, False), (voxels[:9], False)):
        skeletons = Skeletons(places, np.zeros((0, 2), np.int64), np.zeros(len(places), np.int64))
        if not is_wrong:
            assert check_place(skeletons, space, Path("a.swc")) == 0
            continue
        with pytest.raises(BadInput, match=r"fill the volume if they are numbers of voxels.*multiply them"):
            check_place(skeletons, space, Path("a.swc"))


def test_skeletons_are_in_the_unit_of_the_volume(tmp_path: Path) -> None:
    """A volume in um takes nodes in um, with no word; nodes in nm are refused and their unit is named."""
    skeletons, space = in_space(tmp_path, INSIDE / 1e3, "um", 1e-3)
    assert check_place(skeletons, space, Path("a.swc")) == 0
    skeletons, space = in_space(tmp_path / "again", INSIDE, "um", 1e-3)
    with pytest.raises(BadInput, match="in nm: give them in um"):
        check_place(skeletons, space, Path("a.swc"))


def test_some_nodes_may_lie_outside(tmp_path: Path) -> None:
    """A third of the nodes beyond the volume are counted; short skeletons of one or two nodes may lie in one voxel."""
    skeletons, space = in_space(tmp_path, np.concatenate([INSIDE, INSIDE[:15] + np.array((0, 4000, 0))]))
    assert check_place(skeletons, space, Path("a.swc")) == 15
    for count in (1, 2):
        assert check_place(*in_space(tmp_path / str(count), INSIDE[:1].repeat(count, 0)), Path("a.swc")) == 0


SHAPE = (40, 100, 120)
FIRST, LAST = (5, 31, 7), (5, 31, 111)
STRAIGHT, FLAT = np.linspace(FIRST, LAST, 36), np.linspace((5, 3, 7), (5, 93, 111), 36)
ALONG_Z = np.linspace((3, 31, 7), (38, 31, 7), 36)
SIZES = [(40.0, 4.0, 4.0), (8.0, 8.0, 8.0), (2.0, 2.0, 2.0), (1.0, 0.5, 0.5), (0.5,) * 3, (3.6, 3.6, 3.6)]


def placed(places: np.ndarray, size: tuple[float, ...], tmp_path: Path) -> tuple[Skeletons, Info]:
    """Nodes, and a volume from 0 on."""
    volume = store_volume(tmp_path / "raw", np.zeros(SHAPE, np.uint8), voxel_size=[*size])
    return Skeletons(places, np.zeros((0, 2), np.int64), np.zeros(len(places), np.int64)), info(volume)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("voxels", [STRAIGHT, FLAT, ALONG_Z], ids=["straight", "flat", "along z"])
def test_straight_and_flat_skeletons_in_voxels_are_doubted(
    voxels: np.ndarray, size: tuple[float, ...], tmp_path: Path
) -> None:
    """They lie in the volume in either reading, so it is said and not refused; the same as lengths are not doubted."""
    skeletons, space = placed(np.rint(voxels), size, tmp_path)
    doubt = doubt_of_place(skeletons, space)
    assert doubt
    assert "may be numbers of voxels: " in doubt
    assert "multiply them with the voxel size" in doubt
    for shift in (0, 0.5, 0.37):
        assert doubt_of_place(placed((np.rint(voxels) + shift) * size, size, tmp_path)[0], space) is None
    if min(size) >= 2:
        skeletons, space = placed(voxels + 0.37, size, tmp_path)
        doubt = doubt_of_place(skeletons, space)
        assert doubt
        assert "they reach through the volume then, and as nm they take up" in doubt


@pytest.mark.parametrize(
    ("places", "size"),
    [
        (STRAIGHT, (1.0, 1.0, 1.0)),
        (STRAIGHT[:2], (8.0, 8.0, 8.0)),
        (np.linspace((40, 310, 70), (40, 310, 900), 40), (8.0, 8.0, 8.0)),
        (np.linspace((10.3, 11.7, 12.9), (10.3, 40.1, 12.9), 40), (8.0, 8.0, 8.0)),
        (np.linspace((16, 16, 16), (16, 16, 96), 11), (8.0, 8.0, 8.0)),
        (np.rint(np.linspace((10, 10, 10), (10, 10, 110), 30)), (1.0, 1.0, 1.0)),
    ],
    ids=["voxels of 1", "two nodes", "further than voxels", "a short one", "on voxels", "whole"],
)
def test_skeletons_in_lengths_are_not_doubted(places: np.ndarray, size: tuple[float, ...], tmp_path: Path) -> None:
    """What cannot be voxels, or says nothing either way."""
    assert doubt_of_place(*placed(places, size, tmp_path)) is None
