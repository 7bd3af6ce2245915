"""Folders that several processes may want at once: made by one of them, and whole or not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contraband.models.engines.kept import made_once
from tests.support.paths import ROOT

WANTED = """
import os, sys
from pathlib import Path
from contraband.models.engines.kept import made_once

target = Path(sys.argv[1])

def make(folder):
    with target.with_name("made").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    (folder / "content").write_text("whole" * 100_000)

print(len((made_once(target, make) / "content").read_text()))
"""


def test_of_several_processes_one_makes_it(tmp_path: Path) -> None:
    """And all of them find it whole."""
    target = tmp_path / "networks" / "one"
    command = [sys.executable, "-c", WANTED, str(target)]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert said == ["500000"] * 3
    assert len((target.parent / "made").read_text().splitlines()) == 1


def test_what_a_killed_process_left_is_not_taken_for_whole(tmp_path: Path) -> None:
    """Nor is anything of it in the folder; one whose making fails is tried again by the next that wants it."""
    target = tmp_path / "one"
    partial = tmp_path / ".one.partial"
    partial.mkdir()
    (partial / "half").write_text("half")

    def fail(folder: Path) -> None:
        (folder / "begun").write_text("")
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        made_once(target, fail)
    assert not target.exists()
    made_once(target, lambda folder: (folder / "content").write_text("whole"))
    assert [path.name for path in target.iterdir()] == ["content"]
    made_once(target, fail)
