"""What is written is flushed to the disk, with the folders that name it, before anybody may call it done."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Roi

from blockwise.volume import Volume, create, write


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
