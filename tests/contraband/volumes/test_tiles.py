"""Tiles that nobody needs are not predicted, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

import contraband as cb
from blockwise.arrays.volume import Volume
from blockwise.engine.fingerprint import fingerprint
from blockwise.errors import Stale
from blockwise.grid import Grid, Voxels
from contraband.volumes import tiles as tiling
from contraband.volumes.line import stages
from contraband.volumes.settings import VolumeSettings
from tests.contraband.volumes.test_foreground import OFFSETS, untrained
from tests.support.volumes import digest, store_volume, whole

SHAPE: Voxels = (24, 40, 48)
TILE = [8, 8, 8]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A folder with raw, of which a corner is one value, and masks of a part of it at two resolutions."""
    raw = np.random.default_rng(0).integers(1, 256, SHAPE).astype(np.uint8)
    raw[:, :, 28:] = 7
    store_volume(tmp_path / "raw", raw)
    coarse = np.zeros((6, 10, 12), np.uint8)
    coarse[2:4, 1:3, 1:4] = 1
    store_volume(tmp_path / "coarse", coarse, voxel_size=[4, 4, 4])
    store_volume(tmp_path / "fine", coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2))
    untrained(tmp_path / "net.pt", len(OFFSETS))
    return tmp_path


def settings(folder: Path, name: str, mask: str | None, block: Voxels = SHAPE, **model: Any) -> VolumeSettings:
    """The whole line in this process, with the untrained network."""
    content = {
        "volume": {"raw": str(folder / "raw"), "mask": str(folder / mask) if mask else None},
        "output": str(folder / f"{name}.zarr"),
        "blocks": {"shape": list(block)},
        "model": {"checkpoint": str(folder / "net.pt"), "tile": TILE, "precision": "float32", **model},
        "cluster": {"kind": "none"},
    }
    return VolumeSettings.parse(content, "test")


def run(chosen: VolumeSettings) -> list[str]:
    """Digests of affinities and segments."""
    cb.run(chosen, progress=False)
    return [digest(Volume(path=chosen.output / name)) for name in ("affinities", "segments/0.5")]


def tiles_told(chosen: VolumeSettings) -> dict[str, int]:
    """What the report says of tiles."""
    found: dict[str, int] = json.loads((chosen.output / "report.json").read_text())["stages"]["predict"]["tiles"]
    return found


@pytest.mark.parametrize("mask", ["fine", "coarse"])
def test_tiles_away_from_the_mask_are_not_predicted(scene: Path, mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The segments are those of a prediction of the whole volume, and the report counts the tiles."""
    everywhere = settings(scene, "everywhere", mask, skip_masked=False)
    masked = settings(scene, "masked", mask)
    asked: list[Voxels] = []
    predict_tiles = tiling.predict_tiles

    def watched(predictor: Any, roi: Any, chosen: Any, take: Any, skip: bool) -> np.ndarray:
        asked.extend(chosen)
        return predict_tiles(predictor, roi, chosen, take, skip)

    monkeypatch.setattr("contraband.volumes.predict.predict_tiles", watched)
    affinities, segments = run(masked)
    assert tiles_told(masked) == {"all": 90, "predicted": len(asked)}
    assert len(asked) < 60
    other_affinities, other_segments = run(everywhere)
    assert (affinities != other_affinities, segments == other_segments) == (True, True)


def test_blocks_do_not_change_which_tiles_are_predicted(scene: Path) -> None:
    """Affinities and the count of tiles are the same for blocks that tiles overhang."""
    chosen = [settings(scene, str(i), "coarse", block) for i, block in enumerate([SHAPE, (12, 20, 16), (5, 40, 13)])]
    assert len({tuple(run(one)) for one in chosen}) == 1
    assert len({str(tiles_told(one)) for one in chosen}) == 1


def test_constant_tiles_are_left_out_on_request(scene: Path) -> None:
    """Where the network would see one value only 0 is stored, whatever the blocks; all else is as without."""
    plain = settings(scene, "plain", None)
    without = [settings(scene, str(i), None, block, skip_constant=True) for i, block in enumerate([SHAPE, (5, 40, 13)])]
    run(plain)
    assert len({tuple(run(one)) for one in without}) == 1
    before, after = (whole(Volume(path=one.output / "affinities")) for one in (plain, without[0]))
    left_out = (after == 0).all(axis=0)
    assert before[:, left_out].any()
    assert 0 < left_out.sum() < left_out.size / 2
    np.testing.assert_array_equal(before[:, ~left_out], after[:, ~left_out])


def test_a_run_from_before_there_was_a_choice_goes_on_with_the_choice_it_had(scene: Path) -> None:
    """Without mask the fingerprint has none of the new keys; with one, `skip_masked: false` gives the old one."""
    new = {"mask", "mask_placed", "mask_near", "skip_constant"}
    for chosen in (settings(scene, "a", None), settings(scene, "b", "fine", skip_masked=False)):
        _, plain = fingerprint(stages(chosen)[0], {})
        assert not {f"predict.{key}" for key in new} & plain.keys()
        assert [key for key in plain if key.startswith("input ")] == ["input 0 (raw)"]
    run(settings(scene, "b", "fine", skip_masked=False))
    with pytest.raises(Stale, match="mask_near was unset"):
        cb.run(settings(scene, "b", "fine"), progress=False)


def test_another_mask_makes_a_prediction_stale(scene: Path) -> None:
    """What was left out may be wanted now."""
    run(settings(scene, "a", "fine"))
    store_volume(scene / "other", np.ones(SHAPE, np.uint8))
    with pytest.raises(Stale, match=r"input 1 \(other\) changed"):
        cb.run(settings(scene, "a", "other"), progress=False)


@pytest.mark.parametrize("tile", [(8, 8, 8), (4, 10, 16), (24, 40, 48), (5, 7, 30)])
def test_work_is_that_of_all_blocks_counted_one_by_one(tile: Voxels) -> None:
    """Tiles that hang over blocks or the volume too, and what is around them."""
    context: Voxels = (2, 3, 4)
    grid = Grid("predict", SHAPE, (8, 16, 20), context, context)
    whole_volume = Roi((0, 0, 0), SHAPE)
    predicted = shown = read = 0
    for block in grid.blocks():
        chosen = list(tiling.tiles(block.write_roi, tile))
        predicted += sum(one.size for one in chosen)
        shown += sum(one.grow(Coordinate(context), Coordinate(context)).size for one in chosen)
        read += tiling.hull(chosen, context).intersect(whole_volume).size
    found = tiling.work_per_voxel(grid, tile, context)
    counted = {"predicted_per_voxel": predicted, "shown_per_voxel": shown, "read_per_voxel": read}
    assert found == pytest.approx({key: count / whole_volume.size for key, count in counted.items()})
