"""What a network tells of itself, kept with a prediction: believed as long as the network is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import contraband as cb
from blockwise.arrays.volume import Volume, info
from contraband.models import facts
from contraband.models.facts import KnownNetworks, NetworkFacts
from contraband.volumes import predictors
from contraband.volumes.line import stages
from contraband.volumes.predict import Predict
from contraband.volumes.settings import VolumeSettings
from tests.contraband.volumes.test_foreground import OFFSETS, SHAPE, untrained
from tests.support.volumes import store_volume

CHANNELS = len(OFFSETS) + 1
HOW: Mapping[str, Mapping[str, Any]] = {
    "one": {"checkpoint": ["3.pt"]},
    "turned": {"checkpoint": ["3.pt"], "augment": "rotations"},
    "several": {"checkpoint": ["3.pt", "4.pt"], "disagreement": True},
    "embeddings": {"checkpoint": ["3.pt"], "output": "embeddings"},
    "engine left open": {"checkpoint": ["3.pt"], "engine": "auto"},
}


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Raw and two networks in a folder; the names of networks as they are loaded."""
    store_volume(tmp_path / "raw", np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8))
    for seed in (3, 4):
        untrained(tmp_path / f"{seed}.pt", CHANNELS, seed)
    names: list[str] = []
    load = predictors._load_network
    monkeypatch.setattr(predictors, "_load_network", lambda path, how: names.append(path.name) or load(path, how))
    return names


def settings(folder: Path, checkpoint: Sequence[str] = ("3.pt",), **model: Any) -> VolumeSettings:
    """A prediction in this process."""
    model = {"checkpoint": [str(folder / name) for name in checkpoint], "tile": [8, 8, 8], **model}
    content = {"volume": {"raw": str(folder / "raw")}, "output": str(folder / "a.zarr"), "model": model}
    return VolumeSettings.parse({**content, "cluster": {"kind": "none"}}, "test")


def predict(chosen: VolumeSettings) -> Predict:
    """The stage that predicts."""
    first = stages(chosen)[0]
    assert isinstance(first, Predict)
    return first


@pytest.mark.parametrize("how", HOW)
def test_a_stage_from_kept_facts_is_that_of_the_networks(tmp_path: Path, loaded: list[str], how: str) -> None:
    """Field for field, without loading one, once they have predicted."""
    chosen = settings(tmp_path, **HOW[how])
    before = predict(chosen)
    assert set(loaded) == set(HOW[how]["checkpoint"])
    cb.run(chosen, last=before.name, progress=False)
    loaded.clear()
    again = predict(chosen)
    assert not loaded
    left_out = {"engine_choice"} if how == "engine left open" else set()  # it was measured once more
    assert again.model_dump(exclude=left_out) == before.model_dump(exclude=left_out)


def test_another_network_at_the_same_place_is_asked_itself(tmp_path: Path, loaded: list[str]) -> None:
    """It is known by what is in its file, not by its name; and the old one is still known when it is back."""
    chosen = settings(tmp_path)
    cb.run(chosen, last="predict", progress=False)
    first = predict(chosen)
    untrained(tmp_path / "3.pt", CHANNELS, 5)
    loaded.clear()
    assert predict(chosen).weights != first.weights
    assert loaded == ["3.pt"]
    untrained(tmp_path / "3.pt", CHANNELS, 3)
    loaded.clear()
    assert predict(chosen).weights == first.weights
    assert not loaded


def test_facts_of_other_code_are_not_believed(
    tmp_path: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that asks networks otherwise asks them once more."""
    chosen = settings(tmp_path)
    cb.run(chosen, last="predict", progress=False)
    loaded.clear()
    monkeypatch.setattr(facts, "_digest_of_code", lambda: "another")
    predict(chosen)
    assert loaded == ["3.pt"]


def test_a_device_that_is_named_is_tried(tmp_path: Path, loaded: list[str]) -> None:
    """Whether it is there only shows when the network is loaded to it."""
    chosen = settings(tmp_path)
    cb.run(chosen, last="predict", progress=False)
    loaded.clear()
    with pytest.raises(cb.BadInput, match="CUDA is not available"):
        predict(settings(tmp_path, device="cuda"))
    assert loaded == ["3.pt"]


def test_facts_that_are_none_are_learned_again(tmp_path: Path, loaded: list[str]) -> None:
    """What another version wrote, or somebody else, stops nothing."""
    chosen = settings(tmp_path)
    cb.run(chosen, last="predict", progress=False)
    (kept,) = info(Volume(path=chosen.output / "affinities")).attributes["networks"]
    assert NetworkFacts.parse(json.loads(json.dumps(kept)), "test").context == predict(chosen).context
    for broken in (None, {}, {**kept, "context": "far"}, {**kept, "more": 1}):
        assert not KnownNetworks([broken])._known
    assert KnownNetworks([kept])._known
