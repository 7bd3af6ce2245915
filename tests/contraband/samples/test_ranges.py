"""Raw that no network could learn from, as nothing says what is white: stretched in training, said in a run."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import zarr

from contraband.experiments.train import train_seg
from contraband.models.checkpoints import load_checkpoint
from contraband.models.normalise import is_about_one
from contraband.samples.ranges import is_in_range
from contraband.samples.sources import ZarrVolume
from contraband.volumes.line import stages
from contraband.volumes.settings import VolumeSettings
from tests.support.tiny import tiny_experiment
from tests.support.volumes import store_volume


@pytest.mark.parametrize(
    ("values", "dtype", "factor", "fits"),
    [
        ((0, 255), "uint8", 1 / 255, True),
        ((0, 4095), "uint16", 1 / 65535, True),
        ((0, 255), "uint16", 1 / 65535, False),
        ((0, 255), "int32", 1 / (2**31 - 1), False),
        ((0, 1), "float32", 1.0, True),
        ((-4, 4), "float32", 1.0, True),
        ((0, 255), "float32", 1.0, False),
        ((0, 1e-4), "float64", 1.0, False),
    ],
)
def test_raw_is_in_range_if_its_largest_value_is_about_one(
    values: tuple[float, float], dtype: str, factor: float, fits: bool, tmp_path: Path
) -> None:
    """Whatever the type: what counts is the product with the factor."""
    data = np.linspace(*values, 16 * 16 * 16).reshape(16, 16, 16).astype(dtype)
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w").create_array("raw", data=data)
    assert is_in_range([ZarrVolume(str(tmp_path / "a.zarr"), "raw")], factor) is fits


def test_raw_of_one_value_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing to learn from it, however it is scaled."""
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w").create_array("raw", data=np.full((4, 8, 8), 7, np.uint8))
    assert is_in_range([ZarrVolume(str(tmp_path / "a.zarr"), "raw")], 1 / 255)
    assert "all voxels are 7" in caplog.text


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_a_training_stretches_raw_whose_range_nothing_says(
    dtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The checkpoint remembers it, so that predictions do the same; a factor that was asked for is kept, and said."""
    experiment, params = tiny_experiment(tmp_path, 2, baseline=True, seg_head="Simple", num_iterations=1)
    group = zarr.open_group(str(tmp_path / "data.zarr"), mode="r+")
    raw = group["raw"][:].astype(dtype)
    group.create_array("raw", data=raw, overwrite=True)
    caplog.set_level(logging.WARNING)
    content = load_checkpoint(train_seg(params, experiment, 0)[0])
    assert content["percentiles"] is not None
    assert "norm_factor" in caplog.text
    assert "percentiles" in caplog.text

    (tmp_path / "asked").mkdir()
    asked, params = tiny_experiment(tmp_path / "asked", 2, baseline=True, num_iterations=1, norm_factor=1 / 255)
    kept = load_checkpoint(train_seg(params, asked, 0)[0])
    assert kept["percentiles"] is None
    assert kept["norm_factor"] == 1 / 255


def test_a_run_says_that_raw_is_of_another_brightness(tmp_path: Path) -> None:
    """A network that was trained on uint8 sees floats of 0..1 as black."""
    experiment, params = tiny_experiment(tmp_path, 3, baseline=True, seg_head="Simple", num_iterations=1)
    checkpoint = train_seg(params, experiment, 0)[0]
    raw = zarr.open_array(str(tmp_path / "data.zarr" / "raw"), mode="r")[:]
    said = {}
    for name, data in (("same", raw), ("floats", (raw / 255).astype(np.float32))):
        store_volume(tmp_path / "raw.zarr" / name, data)
        settings = {
            "volume": {"raw": str(tmp_path / "raw.zarr" / name)},
            "output": str(tmp_path / "out.zarr"),
            "model": {"checkpoint": str(checkpoint)},
        }
        said[name] = list(stages(VolumeSettings.parse(settings, "test"))[0].notes())
    assert said["same"] == []
    assert "not about 0..1" in said["floats"][0]
    assert is_about_one(1.0)
    assert not is_about_one(1 / 255)
