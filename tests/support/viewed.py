"""A finished run of a small volume whose raw image has 16 bits and uses few of them, and whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import contraband
from contraband.volumes.settings import VolumeSettings
from tests.support.volumes import cells, store_volume

SHAPE = (32, 96, 128)
THRESHOLDS = (0.3, 0.6)


def viewed_settings(folder: Path, **keys: object) -> VolumeSettings:
    """Settings of the volume, whose arrays are made in `folder`."""
    affinities, labels = cells(SHAPE, seed=5, spacing=20)
    raw = (1000 + 3 * affinities.min(0).astype(np.uint16)).astype(np.uint16)
    where = folder / "in.zarr"
    store_volume(where / "affinities", affinities, voxel_size=(8, 4, 4), offset=(80, 40, 0), units=("nm",) * 3)
    store_volume(where / "raw", raw, voxel_size=(8, 4, 4), offset=(80, 40, 0), units=("nm",) * 3)
    store_volume(where / "labels", labels, voxel_size=(8, 4, 4), offset=(80, 40, 0), units=("nm",) * 3)
    return contraband.load_settings(
        {
            "volume": {"raw": str(where / "raw"), "labels": str(where / "labels")},
            "affinities": str(where / "affinities"),
            "output": str(folder / "out.zarr"),
            "blocks": {"shape": [16, 32, 64]},
            "segment": {"thresholds": list(THRESHOLDS)},
            "cluster": {"kind": "none"},
            **keys,
        }
    )


def viewed_run(folder: Path) -> VolumeSettings:
    """The same, run to its end."""
    settings = viewed_settings(folder)
    contraband.run(settings, progress=False)
    return settings
