"""What commands load: torch takes some 400 MB and a second, and only networks need it."""

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
from tests.support.labelled import store_head
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
    call_without_torch(COMMANDS)


@pytest.mark.parametrize("model", [{}, {"augment": "flips"}, {"engine": "openvino"}, {"engine": "auto"}], ids=str)
def test_once_a_network_has_predicted_commands_do_not_load_torch(in_tmp: Path, model: dict[str, str]) -> None:
    """What they ask of a checkpoint is kept with its prediction; so for all commands that need no value of it."""
    if "engine" in model:
        pytest.importorskip("openvino", reason="OpenVINO is optional")
    store_network(Path("net.pt"), dims=3)
    store_all(in_tmp, {"model": {"checkpoint": "net.pt", **model}})
    cb.run(cb.load_settings("vol.yaml"), progress=False)
    call_without_torch(COMMANDS.replace("plan", "plan --no-probe"))  # a probe predicts


def store_all(folder: Path, beginning: dict[str, Any]) -> None:
    """A volume with raw, labels and affinities, and its settings."""
    affinities, labels = cells((8, 24, 28))
    store_volume(folder / "data" / "vol.zarr" / "raw", np.where(labels > 0, 200, 20).astype(np.uint8))
    store_volume(folder / "data" / "vol.zarr" / "labels", labels)
    store_volume(folder / "data" / "vol.zarr" / "affs", affinities)
    volume = {"raw": "data/vol.zarr/raw", "labels": "data/vol.zarr/labels"}
    content = {"volume": volume, "output": "out/vol.zarr", **beginning}
    Path("vol.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def call_without_torch(commands: str) -> None:
    """Run them in a process of their own, in this folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", commands], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
