"""What commands load: torch takes some 400 MB and a second, bioimageio.spec two; only networks need them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import contraband as cb
from tests.support.descriptions import changed, described_network
from tests.support.labelled import store_head
from tests.support.network_files import affinities_from, settings, store_raw
from tests.support.paths import ROOT
from tests.support.trained import store_network
from tests.support.volumes import cells, store_volume

COMMANDS = """
import sys
from contraband.cli import call
for command in ("status", "plan", "run", "status", "evaluate", "export a.tif", "objects a.csv"):
    word, *target = command.split()
    assert call([word, "vol.yaml", *target]) == 0, command
    assert "torch" not in sys.modules, command
"""

BEGINNINGS = {
    "affinities": {"affinities": "data/vol.zarr/affs"},
    "rules": {"model": {"classical": {"kind": "nuclei", "dark": False, "radius": 4, "dims": 3}}},
    "quick head": {"model": {"head": "head.npz"}},
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_commands_for_a_volume_without_a_network_do_not_load_torch(in_tmp: Path, beginning: str) -> None:
    """status, plan, run, evaluate, export and objects: affinities are given, rules predict, or a quick head does."""
    if beginning == "quick head":
        store_head(Path("head.npz"), 3, each=5)
    store_all(in_tmp, BEGINNINGS[beginning])
    call_alone(COMMANDS)


@pytest.mark.parametrize("model", [{}, {"augment": "flips"}, {"engine": "openvino"}, {"engine": "auto"}], ids=str)
def test_once_a_network_has_predicted_commands_do_not_load_torch(in_tmp: Path, model: dict[str, str]) -> None:
    """What they ask of a checkpoint is kept with its prediction; so for all commands that need no value of it."""
    if "engine" in model:
        pytest.importorskip("openvino", reason="OpenVINO is optional")
    store_network(Path("net.pt"), dims=3)
    store_all(in_tmp, {"model": {"checkpoint": "net.pt", **model}})
    cb.run(cb.load_settings("vol.yaml"), progress=False)
    call_alone(COMMANDS.replace("plan", "plan --no-probe"))  # a probe predicts


def store_all(folder: Path, beginning: dict[str, Any]) -> None:
    """A volume with raw, labels and affinities, and its settings."""
    affinities, labels = cells((8, 24, 28))
    store_volume(folder / "data" / "vol.zarr" / "raw", np.where(labels > 0, 200, 20).astype(np.uint8))
    store_volume(folder / "data" / "vol.zarr" / "labels", labels)
    store_volume(folder / "data" / "vol.zarr" / "affs", affinities)
    volume = {"raw": "data/vol.zarr/raw", "labels": "data/vol.zarr/labels"}
    content = {"volume": volume, "output": "out/vol.zarr", **beginning}
    Path("vol.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def environment() -> dict[str, str]:
    """Of processes in this folder that import the code under test."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def call_alone(commands: str) -> None:
    """Run them in a process of their own, in this folder."""
    done = subprocess.run([sys.executable, "-c", commands], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


ASKING = """
import sys
from contraband.cli import call
for command in ("status", "run", "status"):
    assert call([command, "described.yaml"]) == 0, command
    assert "bioimageio.spec" not in sys.modules, command
"""


def test_once_a_described_network_has_predicted_its_description_is_not_read_again(in_tmp: Path) -> None:
    """What bioimageio.spec read is kept with the prediction; of a description that has changed nothing is believed."""
    pytest.importorskip("openvino", reason="OpenVINO is optional")
    network = described_network(in_tmp)
    chosen = settings(store_raw(in_tmp), network, "described", engine="openvino", context=None, output=None)
    affinities_from(chosen)
    call_alone(ASKING)
    changed(network, lambda content: content.update(name="another"))
    done = subprocess.run([sys.executable, "-c", ASKING], env=environment(), capture_output=True, text=True)
    assert "AssertionError: status" in done.stderr
