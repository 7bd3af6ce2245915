"""What finished blocks are remembered by is the same in every version that gives the same results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.engine.fingerprint import fingerprint
from blockwise.grid import Voxels
from contraband.volumes.line import stages
from contraband.volumes.settings import VolumeSettings
from tests.contraband.volumes.test_foreground import settings as predicted
from tests.support.volumes import store_volume

SHAPE: Voxels = (12, 20, 24)
OFFSETS = [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, -3, -2]]
PINNED = Path(__file__).with_name("fingerprints.json")
"""Taken from the version before a stage's keys had a class of their own; changed only with a stage's `version`."""

GIVEN: dict[str, Any] = {"affinities": "vol.zarr/affinities", "output": "out.zarr", "blocks": {"shape": [6, 20, 9]}}
CHANGED: dict[str, Any] = {
    "volume": {"labels": "vol.zarr/labels", "skeletons": "one.swc", "mask": "vol.zarr/mask"},
    "fragments": {
        "per_section": True,
        "smooth": 1.5,
        "affinity_weight": 0.25,
        "dip": 0.1,
        "low": 0.05,
        "cap": None,
        "background": 0.4,
        "foreground": {"volume": "vol.zarr/likely", "threshold": 0.3},
    },
    "edges": {"offsets": "nearest"},
    "agglomerate": {"statistic": "quantile_75", "stop": 0.25, "memory": "8GB"},
    "segment": {"min_voxels": 60, "isolated": "keep", "thresholds": [0.6, 0.4], "numbers": "compact"},
    "evaluate": {
        "ignore": [0, 7],
        "min_voxels": 9,
        "per_section": True,
        "partial": True,
        "thresholds": [0.7, 0.5],
        "false_merges": 3,
        "least_voxels": 8,
        "merge_tolerance": 2,
    },
}
WATERZ = {"blocks": {"shape": list(SHAPE)}, "agglomerate": {"statistic": "waterz:hist_quant_50", "stop": 0}}
CHOICES: dict[str, dict[str, Any]] = {
    "default": {"volume": {"labels": "vol.zarr/labels"}},
    "changed": CHANGED,
    "waterz": WATERZ,
}


@pytest.fixture
def volume(in_tmp: Path) -> Path:
    """A working folder with everything that the settings name."""
    whole = np.zeros(SHAPE, np.uint8)
    store_volume(Path("vol.zarr/affinities"), np.zeros((4, *SHAPE), np.uint8), offsets=OFFSETS)
    for name in ("labels", "mask", "likely"):
        store_volume(Path("vol.zarr") / name, whole)
    Path("one.swc").write_text("1 0 1 1 1 1 -1\n2 0 2 2 2 1 1\n")
    return in_tmp


def parts(settings: VolumeSettings) -> dict[str, dict[str, Any]]:
    """What the fingerprint of each stage is made of; of arrays from outside only that they are known by their content.

    A digest of an array's metadata holds the time it was written.
    """
    found = {}
    for stage in stages(settings):
        _, plain = fingerprint(stage, {})
        found[stage.name] = {key: "known" if key.startswith("input ") else value for key, value in plain.items()}
    return found


@pytest.mark.parametrize("name", CHOICES)
def test_fingerprints_are_made_of_what_they_always_were(name: str, volume: Path) -> None:
    """Every key and every value of every stage, with all settings at their defaults and with none."""
    pinned = json.loads(PINNED.read_text())
    assert parts(VolumeSettings.parse({**GIVEN, **CHOICES[name]}, "test")) == pinned[name]


def test_fragments_of_a_predicted_foreground_are_remembered_as_they_were(tmp_path: Path) -> None:
    """Where the network predicts affinities and foreground, so that neither is an input."""
    settings = predicted(tmp_path, "a", 4, foreground={"threshold": 0.45})
    assert parts(settings)["fragments"] == json.loads(PINNED.read_text())["predicted"]


def test_no_key_of_the_changed_settings_is_at_its_default() -> None:
    """What is pinned holds every key of every stage once with another value than the default."""
    sections = ("fragments", "edges", "agglomerate", "segment", "evaluate")
    plain = VolumeSettings.parse(GIVEN, "test")
    other = VolumeSettings.parse({**GIVEN, **CHANGED}, "test")
    for name in sections:
        before, after = dict(getattr(plain, name)), dict(getattr(other, name))
        assert [key for key in before if before[key] == after[key]] == []
