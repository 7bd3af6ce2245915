"""Percentile levels: exact ranks, and the same numbers in training and in every block of a prediction."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import zarr

from blockwise.arrays.volume import Volume
from blockwise.engine.options import RunOptions
from blockwise.errors import BadInput
from contraband.experiments.params import parse_params
from contraband.experiments.train import train_seg
from contraband.models import normalise
from contraband.models.normalise import Levels, Percentiles, measure
from contraband.models.predictor import load_predictor
from contraband.samples.sources import VolumeReader, ZarrVolume, raw_levels
from contraband.volumes.brightness import volume_levels
from contraband.volumes.line import stages
from contraband.volumes.run import execute
from contraband.volumes.settings import VolumeSettings
from tests.support.tiny import tiny_experiment


def levels_of(raw: np.ndarray, per: str, depth: int = 2) -> np.ndarray:
    """Levels (C, S, 2) of raw (C, z, y, x), read in slabs."""
    wanted = Percentiles(low=10.0, high=90.0, per=per)
    return measure(lambda low, high: raw[:, low:high], raw.shape[1], wanted, depth).values


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "bool"])
@pytest.mark.parametrize("per", ["section", "volume"])
def test_levels_are_ranks(dtype, per):
    """The least value that so many percent do not exceed, of each channel, whatever the slabs."""
    raw = (np.random.default_rng(0).normal(size=(2, 5, 9, 11)) * 1000).astype(dtype)
    found = levels_of(raw, per)
    assert (found == levels_of(raw, per, 5)).all()
    parts = [[one.ravel() for one in channel] if per == "section" else [channel.ravel()] for channel in raw]
    wanted = [
        [[np.quantile(part.astype(float), q, method="inverted_cdf") for q in (0.1, 0.9)] for part in parts_of]
        for parts_of in parts
    ]
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))


@pytest.mark.parametrize("per", ["section", "volume"])
def test_a_large_section_is_counted_in_pieces(monkeypatch, per):
    """To the same ranks, and in less memory than the section itself takes, which numpy's count is eight times of."""
    raw = np.random.default_rng(0).integers(-300, 300, (1, 2, 2000, 1001)).astype(np.int16)
    expected = levels_of(raw, per)
    monkeypatch.setattr(normalise, "COUNTED_AT_ONCE", 1 << 12)
    tracemalloc.start()
    try:
        found = levels_of(raw, per)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, expected)
    assert most < raw.nbytes / 3


def test_levels_become_0_and_1():
    """Each section by its own levels, also where sections are mirrored; a section of one value becomes 0."""
    raw = np.stack([np.arange(11).reshape(1, 11), np.arange(11).reshape(1, 11) * 5 + 100, np.full((1, 11), 7)])
    levels = Levels(np.array([[[0, 10], [100, 150], [7, 7]]], np.float32))
    found = levels.apply(raw[[2, 1, 0, 1]].astype(np.uint8), np.array([2, 1, 0, 1]))
    assert not found[0].any()
    np.testing.assert_allclose(found[1:], np.broadcast_to(np.linspace(0, 1, 11), (3, 1, 11)), atol=1e-6)
    assert found.dtype == np.float32


def test_training_reads_stretched_raw(tmp_path):
    """A dim copy of a section, in one channel or more, gives the same numbers as the bright one."""
    bright = np.random.default_rng(0).integers(0, 50, (1, 30, 40)).astype(np.uint8)
    group = zarr.open_group(str(tmp_path / "v.zarr"), mode="w")
    group.create_array("raw", data=np.concatenate([bright * 4 + 20, bright]))
    volume = ZarrVolume(str(tmp_path / "v.zarr"), "raw")
    reader = VolumeReader(volume, raw_levels(volume, Percentiles()))
    region = reader.mirrored((-1, -3, 5), (3, 33, 20))  # sections 1, 0, 1, 0
    np.testing.assert_allclose(region[0], region[1], atol=1e-6)
    assert reader.mirrored((0, 0, 0), (2, 30, 40)).max() < 1.2


def test_a_prediction_stretches_as_training_did(tmp_path):
    """Whatever the blocks, affinities are those of the network on raw stretched as a whole; and training has learnt."""
    experiment, params = tiny_experiment(tmp_path, 2, baseline=True, normalize="percentile")
    (checkpoint,) = train_seg(params, experiment, 0)
    written = {}
    for name, block in (("a", (20, 40, 40)), ("b", (2, 16, 24))):
        settings = VolumeSettings.parse(
            {
                "volume": {"raw": str(tmp_path / "data.zarr" / "raw")},
                "output": str(tmp_path / f"{name}.zarr"),
                "model": {"checkpoint": str(checkpoint), "tile": [1, 16, 16], "precision": "float32", "device": "cpu"},
                "blocks": {"shape": block},
                "cluster": {"kind": "none"},
            },
            "test",
        )
        execute(settings, stages(settings)[:1], RunOptions())
        written[name] = zarr.open_array(str(tmp_path / f"{name}.zarr" / "affinities"))[:]
    assert (written["a"] == written["b"]).all()
    raw = zarr.open_array(str(tmp_path / "data.zarr" / "raw"))[:]
    predictor = load_predictor(checkpoint, "affinities", device="cpu")
    levels = volume_levels(Volume(path=tmp_path / "data.zarr" / "raw"), Percentiles())
    whole = predictor(levels.apply(raw, np.arange(40)))
    margin = predictor.context[1]
    assert np.abs(whole * 255 - written["a"][:, :, margin:-margin, margin:-margin]).max() < 0.51
    assert predictor.norm_factor == 1


def test_a_factor_beside_percentiles_is_refused():
    """Two normalisations, or levels in the wrong order, are bad input."""
    seg = {"data_file": "a", "dataset": [{"train": {"raw": "r", "gt": "g"}}], "normalize": ["percentile"]}
    with pytest.raises(BadInput, match="no effect"):
        parse_params({"model": [{"in_shape": [84, 84]}], "seg": seg | {"norm_factor": [0.1]}}, "f")
    with pytest.raises(BadInput, match="low must be below"):
        parse_params({"model": [{"in_shape": [84, 84]}], "seg": seg | {"percentile_params": {"low": 99.9}}}, "f")
