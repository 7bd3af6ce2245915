"""What is said of blocks that fail alike: the first in full, then how many there were."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from blockwise.engine import failing
from blockwise.engine.failing import EVERY_S, Failing
from blockwise.executor.blocklog import read_lines
from tests.support.paths import ROOT
from tests.support.volumes import store_volume

SHAPE = (16, 16, 64)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is shown unless more is asked for."""
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_first_of_a_kind_is_said_and_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """By stage and error, whatever numbers are in it; every attempt is there for those who ask for more."""
    caplog.set_level(logging.INFO)
    told = Failing()
    for stage, key, error in [
        ("one", 0, "Traceback\nOSError: block 1"),
        ("one", 1, "Traceback\nOSError: block 2"),
        ("two", 0, "Traceback\nOSError: block 1"),
        ("one", 2, "Traceback\nOSError: block 3"),
        ("one", 3, "KeyError: x"),
    ]:
        told.say(stage, key, "attempt 1, tried again", error)
    assert said(caplog) == [
        "one: block (0, 0, 0) failed, attempt 1, tried again: OSError: block 1",
        "two: block (0, 0, 0) failed, attempt 1, tried again: OSError: block 1",
        "one: block (0, 0, 3) failed, attempt 1, tried again: KeyError: x",
    ]
    assert len(caplog.records) == 5
    told.say_counts()
    assert said(caplog)[3:] == ["one: 2 more attempts failed alike: OSError: block 1"]
    told.say("one", 4, "attempt 3, given up", "OSError: block 9")
    told.say_counts()
    told.say_counts()
    assert said(caplog)[4:] == ["one: 1 more attempt failed alike: OSError: block 1"]


def test_counts_are_said_while_it_goes_on(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches sees that it is no single block."""
    told = Failing()
    monkeypatch.setattr(failing, "EVERY_S", -1.0)
    for key in range(3):
        told.say("one", key, "attempt 1, tried again", "OSError")
    assert said(caplog)[1:] == ["one: 1 more attempt failed alike: OSError"] * 2


@pytest.mark.parametrize("kind", ["none", "local"])
def test_an_input_that_breaks_off_is_said_in_two_lines(kind: str, tmp_path: Path) -> None:
    """In this process and on workers, or more often where it takes long; each attempt stands in its block's log."""
    affinities = store_volume(tmp_path / "v.zarr/affinities", np.full((3, *SHAPE), 250, np.uint8), (4, 4, 4))
    broken = [file for file in (affinities.path / "c").rglob("*") if file.is_file() and int(file.name) >= 8]
    for file in broken:
        file.write_bytes(b"gone")
    settings = tmp_path / "vol.yaml"
    settings.write_text(
        f"affinities: {affinities.path}\noutput: {tmp_path}/out.zarr\nblocks: {{shape: [4, 4, 4]}}\n"
        f"cluster: {{kind: {kind}, workers: 1}}\n"
    )
    command = [sys.executable, "-m", "contraband", "run", str(settings)]
    begin = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
    took_s = time.monotonic() - begin
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if " failed" in line and "blocks/s" not in line]
    first, *counts, last = lines
    assert "failed, attempt 1, tried again: " in first
    assert len(counts) == 1 or took_s > EVERY_S, done.stderr
    more = re.findall(r"(\d+) more attempts? failed alike: ", done.stderr)
    assert (len(more), sum(map(int, more))) == (len(counts), 431)
    assert last.startswith("contraband: fragments: ")
    errors = [line for line in read_lines(tmp_path / "out.zarr/logs", "fragments", 15) if "failed" in line["text"]]
    assert len(errors) == 3
