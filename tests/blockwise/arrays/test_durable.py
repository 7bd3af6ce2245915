"""What is written is flushed to the disk, with the folders that name it, before anybody may call it done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.arrays.durable import remove_torn
from blockwise.arrays.volume import Volume, create, write
from tests.support.paths import ROOT


def test_every_shard_and_its_folders_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After writing two of eight blocks of a volume with channels, all files and folders that are new were flushed."""
    flushed: list[tuple[int, int]] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        found = os.fstat(handle)
        flushed.append((found.st_ino, found.st_size))
        fsync(handle)

    volume = Volume(path=tmp_path / "vol.zarr" / "affinities")
    create(volume, (3, 8, 8, 8), "uint8", (4, 4, 4))
    monkeypatch.setattr(os, "fsync", noted)
    write(volume, Roi((4, 0, 4), (4, 8, 4)), np.ones((3, 4, 8, 4), np.uint8))
    made = [path for path in volume.path.rglob("*") if path.name != "zarr.json"]
    assert sum(path.is_file() for path in made) == 2
    assert {(path.stat().st_ino, path.stat().st_size) for path in [*made, volume.path]} <= set(flushed)


def test_a_block_of_zeros_has_no_file_and_its_folder_is_flushed(tmp_path: Path) -> None:
    """Overwritten by zeros, the shard's file is gone, and writing does not fail on that."""
    volume = Volume(path=tmp_path / "vol.zarr" / "fragments")
    create(volume, (4, 4, 4), "uint64", (4, 4, 4))
    for value in (1, 0):
        write(volume, Roi((0, 0, 0), (4, 4, 4)), np.full((4, 4, 4), value, np.uint64))
    assert not [path for path in (volume.path / "c").rglob("*") if path.is_file()]


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import zarr.storage._local as local
from funlib.geometry import Roi
from blockwise.arrays.volume import Volume, write
local._move_with_retry = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
write(Volume(path=Path(sys.argv[1])), Roi((4, 0, 4), (4, 4, 4)), np.ones((4, 4, 4), np.uint8))
"""


def test_what_a_killed_writer_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """A shard written but not yet named goes when shards are looked at; files of others with such names stay."""
    volume = Volume(path=tmp_path / "vol.zarr" / "raw")
    create(volume, (8, 8, 8), "uint8", (4, 4, 4))
    write(volume, Roi((0, 0, 0), (4, 4, 4)), np.ones((4, 4, 4), np.uint8))
    for name in ("notes.partial", "c/0/0/model.partial", "c/0/0/0123456789abcdef.partial"):
        (volume.path / name).write_text("mine")
    whole = set(tmp_path.rglob("*"))
    process = subprocess.run([sys.executable, "-c", KILLED, str(volume.path)], cwd=ROOT, check=False)
    assert process.returncode == -signal.SIGKILL
    left = [path for path in set(tmp_path.rglob("*")) - whole if path.is_file()]
    assert [path.suffix for path in left] == [".partial"]
    assert remove_torn(tmp_path, in_arrays=False) == 0
    assert remove_torn(tmp_path, in_arrays=True) == 1
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {path for path in whole if path.is_file()}
    torn = volume.path / f"zarr.{'0a' * 16}.partial"
    torn.write_text("{")
    assert remove_torn(tmp_path, in_arrays=False) == 1
    assert not torn.exists()
