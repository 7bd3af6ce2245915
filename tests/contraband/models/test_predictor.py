"""The predictor: shapes, tiles that equal the whole, and what it refuses."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
import torch

from blockwise.errors import BadInput
from contraband.experiments.train import train_contrastive, train_seg
from contraband.models.hardware import check_compiler
from contraband.models.predictor import load_predictor
from contraband.models.settings import ModelSettings
from tests.support.tiny import tiny_experiment
from tests.support.untrained import store_untrained


@pytest.fixture(scope="module", params=[2, 3])
def trained(request, tmp_path_factory):
    """Checkpoints of an encoder and of a baseline."""
    torch.set_num_threads(1)
    experiment, params = tiny_experiment(tmp_path_factory.mktemp("tiny"), request.param, baseline=True)
    encoder = train_contrastive(params, experiment, 0)
    (baseline,) = train_seg(params, experiment, 0)
    return request.param, encoder, baseline


@pytest.mark.parametrize("kind", ["affinities", "embeddings"])
def test_tiles_equal_the_whole(trained, kind):
    """Tiles at multiples of the stride have the values of the whole volume, to 1e-5."""
    predictor = load_predictor(trained[2], kind, device="cpu")
    tile = predictor.fit_output((3, 9, 9))
    whole_shape = tuple(2 * n for n in tile)
    raw = np.random.default_rng(0).integers(0, 255, predictor.input_shape(whole_shape)).astype(np.uint8)
    whole = predictor(raw)
    assert whole.shape == (predictor.channels, *whole_shape)
    assert whole.dtype == np.float32
    for corner in itertools.product(*((0, n) for n in tile)):
        part = tuple(slice(c, c + n) for c, n in zip(corner, predictor.input_shape(tile), strict=True))
        cut = (slice(None), *(slice(c, c + n) for c, n in zip(corner, tile, strict=True)))
        np.testing.assert_allclose(predictor(raw[part]), whole[cut], atol=1e-5, rtol=0)


def test_it_tells_what_the_engine_needs_to_know(trained):
    """Context, stride, channels, offsets and norm factor of a 2D and a 3D network."""
    dims, encoder, baseline = trained
    predictor = load_predictor(baseline.parent, "affinities")
    flat = dims == 2
    assert predictor.context == ((0, 8, 8) if flat else (8, 8, 8))
    assert predictor.stride == ((1, 2, 2) if flat else (2, 2, 2))
    assert predictor.fit_output((5, 7, 1)) == ((5, 6, 2) if flat else (4, 6, 2))
    assert predictor.offsets == [[-1, 0, 0], [0, -1, 0], [0, 0, -1]][3 - dims :]
    assert predictor.channels == dims
    assert predictor.norm_factor == pytest.approx(1 / 255)
    embedder = load_predictor(encoder, "embeddings")
    assert (embedder.channels, embedder.offsets) == (8, [])
    assert len({predictor.fingerprint, embedder.fingerprint, load_predictor(baseline, "embeddings").fingerprint}) == 3
    assert load_predictor(baseline, "affinities").fingerprint == predictor.fingerprint


def test_affinities_are_probabilities_and_repeat(trained):
    """Between 0 and 1, twice the same, and close to it in bfloat16."""
    _, _, baseline = trained
    predictor = load_predictor(baseline, "affinities", device="cpu")
    raw = np.random.default_rng(0).random(predictor.input_shape(predictor.fit_output((8, 8, 8)))) * 255
    values = predictor(raw)
    assert ((values >= 0) & (values <= 1)).all()
    assert np.array_equal(values, predictor(raw))
    assert np.array_equal(np.rint(values * np.float32(255)).astype(np.uint8), predictor.quantised(raw))
    reduced = load_predictor(baseline, "affinities", device="cpu", precision="bfloat16")
    assert np.abs(reduced(raw) - values).max() < 0.1


def test_a_tile_that_was_begun_comes_back_as_it_is_stored(trained):
    """Affinities in 256 steps, embeddings in half precision; in whatever order tiles are waited for."""
    _, encoder, baseline = trained
    for checkpoint, kind, stored in ((baseline, "affinities", np.uint8), (encoder, "embeddings", np.float16)):
        predictor = load_predictor(checkpoint, kind, device="cpu")
        shape = predictor.input_shape(predictor.fit_output((8, 8, 8)))
        raws = [np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8) for seed in (0, 1)]
        first, second = [predictor.begin(raw) for raw in raws]
        for wait, raw in ((second, raws[1]), (first, raws[0])):
            found, expected = wait(), predictor(raw)
            assert found.dtype == stored
            assert np.array_equal(found, predictor.quantised(raw) if kind == "affinities" else expected.astype(stored))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles for CPUs with g++, which is not installed")
def test_a_compiled_network_says_the_same(trained):
    """To rounding, also of a tile of another shape."""
    plain, compiled = (load_predictor(trained[2], "affinities", device="cpu") for _ in range(2))
    compiled.compile()
    for size in (4, 8):
        shape = plain.input_shape(plain.fit_output((size, size, size)))
        raw = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
        np.testing.assert_allclose(compiled(raw), plain(raw), atol=1e-5, rtol=0)


def test_a_compiler_that_is_missing_is_named(monkeypatch, tmp_path):
    """With what would be taken, and the variable that names another one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BadInput, match=r"model.compile: no compiler is installed.*g\+\+ or clang\+\+.*CXX"):
        check_compiler("model.compile", "cpu")
    (tmp_path / "own++").write_text("#!/bin/sh\n")
    (tmp_path / "own++").chmod(0o755)
    monkeypatch.setenv("CXX", "own++")
    check_compiler("model.compile", "cpu")


def test_what_cannot_be_predicted_is_refused(trained):
    """An encoder has no affinities; a tile must fit; devices and precisions must be known."""
    _, encoder, baseline = trained
    with pytest.raises(BadInput, match="segmentation checkpoint"):
        load_predictor(encoder, "affinities")
    predictor = load_predictor(baseline, "affinities", device="cpu")
    with pytest.raises(BadInput, match="does not fit"):
        predictor(np.zeros((31, 31, 31), np.uint8))
    with pytest.raises(BadInput, match="device"):
        load_predictor(baseline, "affinities", device="abacus")
    with pytest.raises(BadInput, match="precision"):
        load_predictor(baseline, "affinities", precision="float8")


FAULTS = {
    "NaN": (lambda content: {"ema": {name: one * float("nan") for name, one in content["ema"].items()}}, "NaN or inf"),
    "weights of another": (lambda content: {"ema": {"a": torch.ones(1)}}, "do not belong to its network"),
    "larger weights": (
        lambda content: {"ema": {name: torch.cat([one, one]) for name, one in content["ema"].items()}},
        "do not belong to its network",
    ),
    "no weights": (lambda _: {"ema": None}, "damaged checkpoint: ema"),
    "no head": (lambda _: {"head": {}}, "do not belong to its network"),
    "no model": (lambda _: {"model": 3}, "damaged checkpoint: model"),
    "short offsets": (lambda _: {"offsets": [[0, 1]]}, "damaged checkpoint: offsets"),
    "offsets in words": (lambda _: {"offsets": "near"}, "damaged checkpoint: offsets"),
    "NaN for a factor": (lambda _: {"norm_factor": float("nan")}, "damaged checkpoint: norm_factor"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_checkpoint_is_called_damaged(name, tmp_path):
    """In a line that names the file and the part; a network of NaN predicted in silence."""
    path = tmp_path / "net.pt"
    model = {"in_shape": [32] * 3, "num_fmaps": 2, "downsample_factors": [[2, 2, 2]]}
    store_untrained(path, ModelSettings.parse(model, "test"))
    content = torch.load(path, weights_only=True)
    change, words = FAULTS[name]
    torch.save(content | change(content), path)
    with pytest.raises(BadInput, match=words) as caught:
        load_predictor(path, "affinities", device="cpu")
    assert "net.pt: is a damaged checkpoint" in str(caught.value)
