"""`contraband log`: what one block came to in each stage, and what was logged within it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import yaml

from blockwise.executor.blocklog import BlockLog
from blockwise.grid import pack
from contraband.cli import call
from tests.support.volumes import cells, store_volume

SHAPE = (12, 20, 24)


@pytest.fixture
def settings(in_tmp: Path) -> Path:
    """The settings file of a small volume in eight blocks."""
    affinities, _ = cells(SHAPE)
    store_volume(in_tmp / "vol.zarr" / "affinities", affinities)
    path = in_tmp / "vol.yaml"
    data = {
        "affinities": "vol.zarr/affinities",
        "output": "out/a.zarr",
        "blocks": {"shape": [6, 10, 12]},
        "cluster": {"kind": "none"},
    }
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_block_tells_of_each_stage(settings: Path, capsys: pytest.CaptureFixture[str]):
    """Before a run, after it, and with what was logged in one of them."""
    assert call(["log", str(settings), "--block", "1,0,1"]) == 0
    assert "fragments, block 1,0,1: not done\n  nothing was logged\n" in capsys.readouterr().out
    assert call(["run", str(settings)]) == 0
    handler = BlockLog()
    handler.into(settings.parent / "out" / "a.zarr" / "logs")
    with handler.of_block("edges", pack((1, 0, 1))):
        handler.handle(logging.makeLogRecord({"msg": "strange", "levelno": 30, "levelname": "WARNING"}))
    handler.into(None)
    logging.getLogger().removeHandler(handler)
    capsys.readouterr()
    assert call(["log", str(settings), "--block", "1,0,1", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["fragments, block 1,0,1: done", "  nothing was logged"]
    assert lines[2] == "edges, block 1,0,1: done"
    assert lines[3].endswith(": strange")
    found = {one["stage"]: one for one in json.loads(last)["stages"]}
    assert found["edges"]["lines"][0]["text"] == "strange"
    assert call(["log", str(settings), "--block", "1,0,0", "--stage", "edges"]) == 0
    assert capsys.readouterr().out == "edges, block 1,0,0: done\n  nothing was logged\n"


def test_a_block_that_failed_tells_why(settings: Path, capsys: pytest.CaptureFixture[str]):
    """With the traceback that the store keeps, and the lines of all attempts."""
    shard = next(
        path
        for path in (settings.parent / "vol.zarr" / "affinities").rglob("*")
        if path.is_file() and path.name != "zarr.json"
    )
    shard.write_bytes(bytes(np.random.default_rng(0).integers(0, 255, 1000, dtype=np.uint8)))
    assert call(["run", str(settings)]) == 1
    capsys.readouterr()
    assert call(["log", str(settings), "--block", "0,0,0", "--stage", "fragments"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("fragments, block 0,0,0: failed\n")
    assert "WARNING" in said
    assert "Traceback" in said


def test_the_log_goes_with_the_output(settings: Path):
    """`contraband clean` takes it for something that a run has made."""
    assert call(["run", str(settings)]) == 0
    (settings.parent / "out" / "a.zarr" / "logs" / "edges").mkdir(parents=True, exist_ok=True)
    assert call(["clean", str(settings), "--yes"]) == 0
    assert not (settings.parent / "out" / "a.zarr").exists()
