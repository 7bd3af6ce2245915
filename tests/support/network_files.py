"""A volume of bright cells between dark membranes, and runs that predict it by a network file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import ndimage

import contraband as cb
from blockwise.arrays.volume import Volume
from blockwise.errors import BadInput
from blockwise.grid import Voxels
from contraband.models.classes import affinities_of
from contraband.volumes.settings import VolumeSettings
from tests.support.networks import BRIGHT, SCALE
from tests.support.volumes import NEAREST, cells, store_volume, whole

SHAPE: Voxels = (16, 24, 32)


def store_raw(folder: Path) -> Path:
    """Raw of the cells, stored in the folder, which is given back."""
    affinities, _ = cells(SHAPE)
    store_volume(folder / "raw", (affinities.min(axis=0) // 2 + 40).astype(np.uint8))
    return folder


def settings(folder: Path, network: Path, name: str = "a", block: Voxels = SHAPE, **model: Any) -> VolumeSettings:
    """One settings file, from raw to segments, in this process. model: None for a key that is not to be told."""
    told = {"network": str(network), "context": [1, 1, 1], "output": "boundary", "tile": [8, 8, 8], **model}
    content = {
        "volume": {"raw": str(folder / "raw")},
        "output": str(folder / f"{name}.zarr"),
        "blocks": {"shape": list(block)},
        "model": {key: value for key, value in told.items() if value is not None},
        "cluster": {"kind": "none"},
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    return cb.load_settings(file)


def affinities_from(chosen: VolumeSettings) -> np.ndarray:
    """What a whole run stores."""
    cb.run(chosen, progress=False)
    return whole(Volume(path=chosen.output / "affinities"))


def expected(folder: Path) -> np.ndarray:
    """The affinities of the network, in plain numpy; those with a voxel outside of the volume see it mirrored."""
    raw = whole(Volume(path=folder / "raw")).astype(np.float64)
    wide = np.pad(raw, 2, "reflect")
    inside = 1 / (1 + np.exp(SCALE * (BRIGHT - ndimage.uniform_filter(wide, 3))))
    found = affinities_of(inside, NEAREST)[:, 2:-2, 2:-2, 2:-2]
    return np.rint(found * 255)


def refuse(chosen: VolumeSettings, message: str) -> None:
    """It is refused with the message, in one line, and nothing is written."""
    with pytest.raises(BadInput, match=message) as raised:
        cb.run(chosen, progress=False)
    assert "\n" not in str(raised.value)
    assert not chosen.output.exists()
    assert not chosen.output.with_suffix(".db").exists()
