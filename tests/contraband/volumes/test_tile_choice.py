"""`tile: auto`: the least work within memory, chosen once, and the bytes of that tile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blockwise.arrays.volume import info
from blockwise.engine.options import RunOptions
from blockwise.errors import BadInput
from blockwise.grid import Grid, Voxels
from contraband.models.activations import peak_bytes
from contraband.models.predictor import Predictor, load_predictor
from contraband.models.settings import ModelSettings
from contraband.volumes.line import stages
from contraband.volumes.plan.probe import around
from contraband.volumes.predict import Predict
from contraband.volumes.prediction import prediction_stage
from contraband.volumes.run import execute
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.tile_choice import choose_tile
from contraband.volumes.tiles import work_per_voxel
from tests.support.tiny import MODELS
from tests.support.untrained import store_untrained
from tests.support.volumes import digest, store_volume

GRID = Grid("predict", (256, 512, 512), (64, 128, 128), (20, 20, 20), (20, 20, 20))


def fit(shape: Sequence[int]) -> Voxels:
    """Whole strides of four."""
    z, y, x = (max(size // 4, 1) * 4 for size in shape)
    return z, y, x


def bytes_of(tile: Voxels) -> int:
    """As many as a network of 150 maps takes."""
    return 600 * int(np.prod([size + 40 for size in tile]))


def work(block: Voxels, tile: Voxels) -> float:
    """Voxels shown to the network for each one written."""
    return work_per_voxel(Grid("predict", GRID.volume, block), tile, GRID.context_low)["shown_per_voxel"]


@pytest.mark.parametrize("memory", [10**7, 10**8, 10**9, 4 * 10**9, 10**11])
def test_more_memory_means_less_work(memory: int) -> None:
    """The tile fits, divides its blocks, which are whole blocks of the volume; less memory never means less work."""
    tile, block, why = choose_tile(GRID, fit, bytes_of, memory, workers=1)
    assert bytes_of(tile) <= memory or memory == 10**7
    assert all(size % step == 0 for size, step in zip(block, GRID.block, strict=True))
    assert all(size % step == 0 for size, step in zip(block, tile, strict=True))
    assert f"{work(block, tile):.2f} voxels" in why
    less, smaller, _ = choose_tile(GRID, fit, bytes_of, memory // 4, workers=1)
    assert work(block, tile) <= work(smaller, less) * 1.05


@pytest.mark.parametrize(("workers", "least"), [(1, 1), (2, 8), (3, 8)])
def test_a_volume_that_is_no_whole_strides_is_one_tile_high(workers: int, least: int) -> None:
    """A tile a voxel short of it would leave another for that voxel; and one worker waits for none."""
    grid = Grid("predict", (125, 250, 250), (64, 128, 128), (20, 20, 20), (20, 20, 20))
    tile, block, _ = choose_tile(grid, fit, bytes_of, 10**11, workers)
    assert Grid("predict", grid.volume, block).count >= least
    assert work_per_voxel(Grid("predict", grid.volume, block), tile, grid.context_low)["predicted_per_voxel"] < 1.1
    if workers == 1:
        assert (tile, block) == ((128, 252, 252), (125, 250, 250))


def test_it_is_worth_it() -> None:
    """With 4 GB the network of fib25 is shown at least 15 % less than in tiles of the usual blocks."""
    tile, block, _ = choose_tile(GRID, fit, bytes_of, 4 * 10**9, workers=1)
    assert work(block, tile) < 0.85 * work(GRID.block, GRID.block)


def test_many_workers_have_enough_blocks() -> None:
    """With more workers than there could be large blocks, blocks stay small enough for all."""
    _, block, _ = choose_tile(GRID, fit, bytes_of, 10**11, workers=8)
    assert Grid("predict", GRID.volume, block).count >= 32
    _, block, _ = choose_tile(GRID, fit, bytes_of, 10**11, workers=1000)
    assert block == GRID.block


def test_memory_of_a_network_is_counted() -> None:
    """Of two convolutions: raw and the maps of both; what is computed in place and what is a view costs nothing."""
    first, second = torch.nn.Conv3d(1, 4, 3), torch.nn.Conv3d(4, 2, 3)
    network = torch.nn.Sequential(first, torch.nn.ReLU(inplace=True), second).to("meta")
    shape = (1, 1, 20, 20, 20)
    assert peak_bytes(lambda batch: network(batch)[:, :1], shape) == 4 * (20**3 + 4 * 18**3 + 2 * 16**3)
    assert peak_bytes(lambda batch: first(batch).narrow(2, 0, 5), shape) == 4 * (20**3 + 4 * 18**3)


@pytest.fixture
def model(tmp_path: Path) -> dict[str, Any]:
    """Raw of a volume of eight blocks, and a network."""
    store_untrained(tmp_path / "network", ModelSettings.parse(MODELS[3], "test"))
    raw = np.random.default_rng(0).integers(0, 255, (32, 32, 32)).astype(np.uint8)
    store_volume(tmp_path / "raw.zarr" / "raw", raw)
    return {"checkpoint": str(tmp_path / "network"), "device": "cpu", "precision": "float32"}


def settings_of(folder: Path, name: str, model: dict[str, Any], **more: Any) -> VolumeSettings:
    """Of a run into a place of its own."""
    told = {
        "volume": {"raw": str(folder / "raw.zarr" / "raw")},
        "output": str(folder / f"{name}.zarr"),
        "blocks": {"shape": [16, 16, 16]},
        "cluster": {"kind": "none"},
        "model": model,
    }
    return VolumeSettings.parse(told | more, "test")


def predicted(settings: VolumeSettings) -> Predict:
    """Run the first stage; what it was."""
    stage = stages(settings)[0]
    assert isinstance(stage, Predict)
    execute(settings, [stage], RunOptions())
    return stage


def test_the_chosen_tile_has_the_bytes_of_that_tile(tmp_path: Path, model: dict[str, Any]) -> None:
    """Several blocks are predicted together; shards are those of the volume, and the bytes those of the tile given."""
    chosen = predicted(settings_of(tmp_path, "auto", model | {"tile": "auto"}))
    assert chosen.tile == chosen.block != (16, 16, 16)
    told = predicted(settings_of(tmp_path, "told", model | {"tile": list(chosen.tile)}))
    assert told.block == (16, 16, 16)
    assert digest(chosen.target) == digest(told.target)
    assert info(chosen.target).unit_of_writing == info(told.target).unit_of_writing == (16, 16, 16)
    assert any("tile auto is" in note for note in chosen.notes())


def test_a_choice_is_kept(tmp_path: Path, model: dict[str, Any]) -> None:
    """A worker of less memory does not change the tile of a prediction that is there, and would have had another."""
    first = predicted(settings_of(tmp_path, "auto", model | {"tile": "auto"}))
    poor = {"kind": "local", "workers": 1, "memory": "1MB"}
    again = stages(settings_of(tmp_path, "auto", model | {"tile": "auto"}, cluster=poor))[0]
    assert isinstance(again, Predict)
    assert (again.tile, again.block) == (first.tile, first.block)
    other = stages(settings_of(tmp_path, "other", model | {"tile": "auto"}, cluster=poor))[0]
    assert isinstance(other, Predict)
    assert np.prod(other.tile) < np.prod(first.tile)


@pytest.mark.parametrize(
    ("changed", "is_said"),
    [
        ({}, True),
        ({"engine": "torch"}, False),
        ({"tile": [16, 16, 16]}, False),
        ({"tile": "auto"}, False),
        ({"tile": "auto", "engine": "openvino"}, False),
    ],
)
def test_large_volumes_are_told_of_faster_programs(
    changed: dict[str, Any], is_said: bool, tmp_path: Path, model: dict[str, Any]
) -> None:
    """Where nobody has chosen, and not once blocks are there that would be made anew; small ones are as soon done."""
    settings = settings_of(tmp_path, "large", model | changed)
    block = (8, 8, 8)
    large, small = (prediction_stage(settings, shape, block) for shape in ((32, 32, 32), (32, 32, 16)))
    assert any("engine: auto" in note for note in large.notes()) == is_said
    assert not any("engine: auto" in note for note in small.notes())
    store_volume(tmp_path / "large.zarr" / "affinities", np.zeros((3, 32, 32, 32), np.uint8))
    begun = prediction_stage(settings, (32, 32, 32), block)
    assert not any("engine: auto" in note for note in begun.notes())


def test_memory_of_a_checkpoint_grows_with_its_tile(tmp_path: Path, model: dict[str, Any]) -> None:
    """It is at least that of the largest maps, and in proportion to what is shown; nothing of the network changes."""
    predictor = load_predictor(tmp_path / "network", "affinities", "cpu")
    raw = np.zeros(predictor.input_shape((8, 8, 8)), np.uint8)
    before = predictor(raw)
    small, large = (predictor.needed_bytes((size,) * 3) for size in (16, 48))
    assert small > 4 * 8 * 30**3
    assert 48**3 / 24**3 < large / small < 48**3 / 16**3
    assert np.array_equal(predictor(raw), before)


def test_auto_is_for_checkpoints(tmp_path: Path) -> None:
    """What has no memory that can be told is refused."""
    with pytest.raises(BadInput, match="tile: auto is for a checkpoint"):
        settings_of(tmp_path, "bad", {"head": "head.npz", "tile": "auto"})


def test_a_plan_probes_the_blocks_around() -> None:
    """Blocks of one grid in those of a coarser one, each once; the last ones are smaller."""
    fine, coarse = Grid("a", (100, 40, 40), (20, 20, 20)), Grid("b", (100, 40, 40), (60, 40, 20))
    keys = [int(key) for key in fine.keys().ravel()]
    assert around(fine, keys, coarse) == [int(key) for key in coarse.keys().ravel()]
    assert around(fine, keys[:2], fine) == keys[:2]
    assert len(around(fine, keys, Grid("c", (100, 40, 40), (100, 40, 40)))) == 1


def test_a_checkpoint_is_loaded_once_for_its_tile(
    tmp_path: Path, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells its context and stride also tells its memory."""
    loaded = []

    def counted(*told: Any) -> Predictor:
        loaded.append(told[0])
        return load_predictor(*told)

    monkeypatch.setattr("contraband.models.predictor.load_predictor", counted)
    stages(settings_of(tmp_path, "auto", model | {"tile": "auto"}))
    assert loaded == [tmp_path / "network"]
