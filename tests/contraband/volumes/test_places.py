"""Whatever is given with affinities lies in these, not in raw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.arrays.placement import Placement
from blockwise.arrays.volume import open_array
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from contraband.volumes.line import stages
from contraband.volumes.run import notes_on
from contraband.volumes.settings import VolumeSettings
from tests.support.volumes import store_volume

SHAPE: Voxels = (8, 20, 24)
SIZE = [40.0, 4.0, 4.0]
PLACED = {
    "raw": ((16, 40, 48), SIZE, [240.0, -80.0, 0.0]),
    "labels": ((16, 40, 48), SIZE, [320.0, -60.0, 72.0]),
    "inner": ((4, 6, 7), SIZE, [480.0, -20.0, 88.0]),
    "coarse": ((4, 5, 12), [80.0, 16.0, 8.0], [400.0, -40.0, 80.0]),
    "away": ((8, 20, 24), SIZE, [4000.0, -40.0, 80.0]),
    "moved": (SHAPE, SIZE, [440.0, -40.0, 80.0]),
}


def placed(in_tmp: Path, **changes: Any) -> dict[str, Any]:
    """The stages by name, for affinities at 400, -40, 80 and the given keys."""
    store_volume(
        Path("v.zarr/affinities"), np.zeros((3, *SHAPE), np.uint8), voxel_size=SIZE, offset=[400.0, -40.0, 80.0]
    )
    for name, (shape, size, offset) in PLACED.items():
        store_volume(Path("v.zarr") / name, np.zeros(shape, np.uint8), voxel_size=size, offset=offset)
    settings = {"affinities": "v.zarr/affinities", "output": "out.zarr", **changes}
    return {stage.name: stage for stage in stages(VolumeSettings.parse(settings, "test"))}


@pytest.mark.parametrize("raw", [{}, {"raw": "v.zarr/raw"}], ids=["without raw", "with raw"])
@pytest.mark.parametrize(("name", "begin"), [("labels", (-2, -5, -2)), ("inner", (2, 5, 2))])
def test_labels_lie_in_the_affinities(name: str, begin: Voxels, raw: dict[str, str], in_tmp: Path) -> None:
    """Raw that begins elsewhere moves nothing; labels may be larger or smaller and need no key."""
    stage = placed(in_tmp, volume={"labels": f"v.zarr/{name}", **raw})["evaluate"]
    stage.check()
    assert stage.truth_begin == begin
    assert "scored is what both have" in next(iter(stage.notes()))


def test_coarse_masks_and_foregrounds_are_part_of_what_is_remembered(in_tmp: Path) -> None:
    """Where they lie is among the parameters, unless it is exactly on the volume."""
    foreground = {"foreground": {"volume": "v.zarr/coarse"}}
    stage = placed(in_tmp, volume={"mask": "v.zarr/coarse", "raw": "v.zarr/raw"}, fragments=foreground)["fragments"]
    assert stage.mask_placed == stage.foreground_placed == Placement(factor=(2, 4, 2))
    assert stage.parameters()["mask_placed"] == {"begin": [0, 0, 0], "factor": [2, 4, 2]}
    assert not any(key.endswith("_placed") for key in placed(in_tmp)["fragments"].parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volume": {"raw": "v.zarr/nosuch"}}, "nosuch: no such volume"),
        ({"volume": {"raw": "v.zarr/away"}}, "away: has no voxel in common"),
        ({"volume": {"raw": "v.zarr/coarse"}}, "coarse: has a different voxel size"),
        ({"volume": {"labels": "v.zarr/away"}}, "away: has no voxel in common"),
        ({"volume": {"labels": "v.zarr/coarse"}}, "coarse: has a different voxel size"),
        ({"volume": {"mask": "v.zarr/moved"}}, "moved: does not cover"),
        ({"volume": {"mask": "v.zarr/inner"}}, "inner: does not cover"),
        ({"fragments": {"foreground": {"volume": "v.zarr/moved"}}}, "moved: does not cover"),
    ],
)
def test_what_does_not_fit_is_refused_in_every_role(changes: dict[str, Any], message: str, in_tmp: Path) -> None:
    """Raw, labels, masks and foregrounds, before anything is made."""
    with pytest.raises(BadInput, match=message):
        placed(in_tmp, **changes)


def test_missing_chunks_of_what_is_given_are_told(in_tmp: Path) -> None:
    """A copy that broke off is read as 0: `run` and `plan` say how much, but not of what an import has seen whole."""
    affinities = store_volume(Path("v.zarr/affinities"), np.ones((3, *SHAPE), np.uint8))
    line = stages(VolumeSettings.parse({"affinities": "v.zarr/affinities", "output": "out.zarr"}, "test"))
    assert notes_on(line) == []
    next(file for file in affinities.path.joinpath("c").rglob("*") if file.is_file()).unlink()
    assert (
        "v.zarr/affinities: 1 of 4 chunks are missing on the disk and are read as its fill value 0" in notes_on(line)[0]
    )
    assert notes_on(line, most_chunks=3) == []
    open_array(affinities, "r+").attrs["identity"] = "a checksum"
    assert notes_on(line) == []


def test_a_foreground_of_0_and_1_is_told(in_tmp: Path) -> None:
    """What is taken for certain is said, and part of what is remembered; a usual foreground changes nothing."""
    store_volume(Path("v.zarr/certain"), np.ones(SHAPE, np.uint8), voxel_size=SIZE, offset=[400.0, -40.0, 80.0])
    stage = placed(in_tmp, fragments={"foreground": {"volume": "v.zarr/certain"}})["fragments"]
    assert stage.parameters()["foreground_full"] == 1
    assert "1 is taken for certain foreground, not 255" in next(iter(stage.notes()))
    usual = placed(in_tmp, fragments={"foreground": {"volume": "v.zarr/coarse"}})["fragments"]
    assert "foreground_full" not in usual.parameters()
    assert list(usual.notes()) == []


@pytest.mark.parametrize(("factor", "is_told"), [(1, True), (4, False)], ids=["voxels", "lengths"])
def test_skeletons_that_may_be_in_voxels_are_told(factor: int, is_told: bool, in_tmp: Path) -> None:
    """A straight one lies in the volume in either reading: `run` and `plan` say so before it is scored."""
    store_volume(Path("v.zarr/affinities"), np.ones((3, *SHAPE), np.uint8), voxel_size=[4.0] * 3)
    rows = [f"{n} 1 {n * factor} {5 * factor} {2 * factor} 1 {n - 1 or -1}" for n in range(1, 20)]
    Path("a.swc").write_text("\n".join(rows))
    settings = {"affinities": "v.zarr/affinities", "output": "out.zarr", "volume": {"skeletons": "a.swc"}}
    notes = notes_on(stages(VolumeSettings.parse(settings, "test")))
    assert any(note.startswith("a.swc: the nodes may be numbers of voxels: all are whole") for note in notes) == is_told
