"""A finished run on a disk that can only be read is handed on all the same; only the target is written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contraband.cli import call
from tests.support.paths import ROOT
from tests.support.volumes import cells, store_volume

SHAPE = (8, 24, 32)
WITHOUT_PRIVILEGES = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE, by which root may write everything
os.execv(sys.executable, [sys.executable, "-m", "contraband", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that is finished, with objects measured, in a folder that may only be read."""
    folder = tmp_path_factory.mktemp("archive")
    affinities, labels = cells(SHAPE)
    for key, data in {"affinities": affinities, "labels": labels, "raw": affinities[0]}.items():
        store_volume(folder / "v.zarr" / key, data)
    (folder / "vol.yaml").write_text(
        f"volume: {{raw: {folder}/v.zarr/raw, labels: {folder}/v.zarr/labels}}\n"
        f"affinities: {folder}/v.zarr/affinities\noutput: {folder}/run/out.zarr\ncluster: {{kind: none}}\n"
    )
    assert call(["evaluate", f"{folder}/vol.yaml"]) == 0
    assert call(["objects", f"{folder}/vol.yaml", f"{folder}/first.csv"]) == 0
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


def called(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """A command in a folder, by a user who may not do everything."""
    command = [sys.executable, "-c", WITHOUT_PRIVILEGES, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=folder)


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("export", "made/vol.ome.zarr"),
        ("export", "cells.tif"),
        ("objects", "cells.csv"),
        ("evaluate", None),
        ("status", None),
    ],
)
def test_a_finished_run_is_handed_on(command: str, target: str | None, archive: Path, tmp_path: Path) -> None:
    """With the same content as where everything may be written."""
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    done = called(tmp_path, command, archive / "vol.yaml", *([target] if target else []))
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before
    assert target is None or (tmp_path / target).exists()
    if target == "cells.csv":
        assert (tmp_path / target).read_bytes() == (archive / "first.csv").read_bytes()


@pytest.mark.parametrize("command", ["export", "objects", "evaluate", "run"])
def test_what_is_not_finished_is_refused_in_one_line(command: str, archive: Path, tmp_path: Path) -> None:
    """It would have to be written into the run, which is named."""
    target = {"export": "cells.tif", "objects": "cells.csv"}.get(command)
    more = ["--set", "agglomerate.stop=0.2"]
    done = called(tmp_path, command, archive / "vol.yaml", *([target] if target else []), *more)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert str(archive / "run") in line
    assert not list(tmp_path.iterdir())


def test_labels_of_the_archive_are_those_of_the_run(archive: Path, tmp_path: Path) -> None:
    """An export that is read again."""
    import tifffile

    assert called(tmp_path, "export", archive / "vol.yaml", "cells.tif").returncode == 0
    assert np.unique(tifffile.imread(tmp_path / "cells.tif")).size > 2
