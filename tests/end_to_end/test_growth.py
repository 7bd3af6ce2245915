"""A volume that grows at the end of an axis: what is done is kept, and all bytes are those of a fresh run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from blockwise.content import content_identity
from blockwise.run import StageResult
from blockwise.volume import Volume, Voxels, open_array
from contraband.plan import stages
from contraband.request import Request
from contraband.running import execute
from contraband.volume_settings import VolumeSettings
from tests.contraband.test_foreground import untrained
from tests.faults.volume import sums
from tests.volumes import store_volume

OLD: Voxels = (24, 20, 20)
DEEPER: Voxels = (31, 20, 20)
LARGER: Voxels = (27, 26, 24)
SHARDS: Voxels = (8, 8, 8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three affinities."""
    return untrained(tmp_path_factory.mktemp("net") / "net.pt", 3)


def cut(data: np.ndarray, shape: Voxels) -> np.ndarray:
    """The first voxels of an array."""
    return np.ascontiguousarray(data[(..., *(slice(0, size) for size in shape))])


def put(path: Path, data: np.ndarray, shape: Voxels, **attributes: object) -> Volume:
    """Write the first voxels of an array in the place of what was there, with the identity that an import gives."""
    shutil.rmtree(path, ignore_errors=True)
    volume = store_volume(path, cut(data, shape), SHARDS, **attributes)
    open_array(volume, "r+").attrs["identity"] = content_identity(volume, shape)
    return volume


def images(seed: int = 0) -> np.ndarray:
    """Raw of the largest shape."""
    return np.random.default_rng(seed).integers(0, 256, (31, 26, 24)).astype(np.uint8)


def predicted(folder: Path, name: str, block: Voxels, checkpoint: Path, **changes: object) -> VolumeSettings:
    """Settings of a volume that is predicted from `folder/raw`."""
    return VolumeSettings.parse({
        "volume": {"raw": str(folder / "raw")}, "output": str(folder / f"{name}.zarr"),
        "blocks": {"shape": list(block)}, "segment": {"thresholds": [0.5]}, "cluster": {"kind": "none"},
        "model": {"checkpoint": str(checkpoint), "tile": [4, 6, 5], "precision": "float32", "device": "cpu"}, **changes,
    }, "test")  # fmt: skip


def ran(settings: VolumeSettings, told: list[str] | None = None, **wishes: object) -> dict[str, StageResult]:
    """Run a volume in this process; the results by stage."""
    request = Request(announce=(told if told is not None else []).append, **wishes)  # type: ignore[arg-type]
    return {result.name: result for result in execute(settings, stages(settings), request)}


@pytest.mark.parametrize(("shape", "block", "kept"), [
    (DEEPER, (8, 12, 12), 2 * 2 * 2), (DEEPER, (6, 20, 20), 2), (LARGER, (8, 12, 12), 2 * 1 * 1),
], ids=str)  # fmt: skip
def test_a_prediction_is_kept(tmp_path: Path, checkpoint: Path, shape: Voxels, block: Voxels, kept: int) -> None:
    """Blocks far from the old end are not predicted again; all outputs are those of a fresh run on the grown volume."""
    put(tmp_path / "raw", images(), OLD)
    settings = predicted(tmp_path, "a", block, checkpoint)
    ran(settings)
    put(tmp_path / "raw", images(), shape)
    told: list[str] = []
    results = ran(settings, told)
    assert results["predict"].blocks_skipped == kept
    assert f"grew from {[*OLD]} to {[*shape]}: predict keeps {kept} blocks and makes" in told[0]
    fresh = predicted(tmp_path, "b", block, checkpoint)
    ran(fresh)
    assert sums(settings.output) == sums(fresh.output)
    assert not any(result.blocks_done for result in ran(settings).values())
