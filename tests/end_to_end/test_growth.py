"""A volume that grows at the end of an axis: what is done is kept, and all bytes are those of a fresh run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
import pytest

from blockwise.arrays.content import content_identity
from blockwise.arrays.volume import Volume, info, open_array
from blockwise.engine.options import RunOptions, StageResult
from blockwise.grid import Voxels
from blockwise.store import open_store
from contraband.importing.volume import import_volume
from contraband.models.normalise import Percentiles
from contraband.volumes.line import stages
from contraband.volumes.run import execute
from contraband.volumes.settings import VolumeSettings, load_volume_settings
from tests.contraband.volumes.test_foreground import untrained
from tests.end_to_end.test_run import blocks_done, done, kill_when
from tests.faults.volume import sums
from tests.support.servers import fresh_database, mongo_server
from tests.support.volumes import NEAREST, cells, store_volume

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
    return VolumeSettings.parse(
        {
            "volume": {"raw": str(folder / "raw")},
            "output": str(folder / f"{name}.zarr"),
            "blocks": {"shape": list(block)},
            "segment": {"thresholds": [0.5]},
            "cluster": {"kind": "none"},
            "model": {"checkpoint": str(checkpoint), "tile": [4, 6, 5], "precision": "float32", "device": "cpu"},
            **changes,
        },
        "test",
    )


def ran(settings: VolumeSettings, told: list[str] | None = None, **wishes: object) -> dict[str, StageResult]:
    """Run a volume in this process; the results by stage."""
    request = RunOptions(announce=(told if told is not None else []).append, **wishes)  # type: ignore[arg-type]
    return {result.name: result for result in execute(settings, stages(settings), request)}


@pytest.mark.parametrize(
    ("shape", "block", "kept"),
    [
        (DEEPER, (8, 12, 12), 2 * 2 * 2),
        (DEEPER, (6, 20, 20), 2),
        (LARGER, (8, 12, 12), 2 * 1 * 1),
    ],
    ids=str,
)
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


def test_levels_of_the_whole_volume_keep_nothing(tmp_path: Path, checkpoint: Path) -> None:
    """Raw that is stretched by sections is as it was in the old ones, unless they have grown too; else all changes."""
    put(tmp_path / "raw", images(), OLD)
    predict = stages(predicted(tmp_path, "a", (8, 12, 12), checkpoint))[0]
    store = open_store(f"sqlite:///{tmp_path}/a.db")
    found = []
    for per in ("section", "volume"):
        stretched = predict.model_copy(update={"percentiles": Percentiles(per=per)})
        found += [stretched.unchanged_box((18, 20, 20), store), stretched.unchanged_box((24, 18, 20), store)]
    assert found == [(8, 20, 20), None, None, None]
    assert predict.unchanged_box((24, 18, 20), store) == (24, 0, 20)
    store.close()


AFFINITIES = """
affinities:  {folder}/affinities
output:      {folder}/{name}.zarr
blocks:      {{shape: [4, 7, 5]}}
segment:     {{thresholds: [0.5]}}
cluster:     {{kind: none}}
store:       {store}
"""
SHORT, LONG = (15, 13, 10), (20, 13, 10)


def affinities(folder: Path, shape: Voxels) -> None:
    """The first of always the same affinities, as imported."""
    put(folder / "affinities", cells(LONG, spacing=5)[0], shape)


def settings_file(folder: Path, name: str, store: str | None = None) -> Path:
    """Settings of a volume that begins with affinities."""
    path = folder / f"{name}.yaml"
    path.write_text(AFFINITIES.format(folder=folder, name=name, store=store or f"sqlite:///{folder}/{name}.db"))
    return path


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run makes of the long volume."""
    folder = tmp_path_factory.mktemp("fresh")
    affinities(folder, LONG)
    settings = load_volume_settings(settings_file(folder, "a"))
    ran(settings)
    return sums(settings.output)


def test_a_run_killed_while_it_grows_ends_the_same(tmp_path: Path, fresh: dict[str, str]) -> None:
    """Killed with -9 among the edges of the grown volume, and started again; the command says what it keeps."""
    affinities(tmp_path, SHORT)
    settings, store = settings_file(tmp_path, "a"), tmp_path / "a.db"
    done("run", settings)
    affinities(tmp_path, LONG)
    kill_when(["run", settings], lambda: blocks_done(store, "agglomerate") == 0 and blocks_done(store, "edges") > 8)
    done("run", settings)
    assert sums(tmp_path / "a.zarr") == fresh


def test_mongodb_keeps_the_same(
    tmp_path: Path, fresh: dict[str, str], mongo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the run dies when the kept blocks are marked anew and the old marks are still there."""
    affinities(tmp_path, SHORT)
    settings = load_volume_settings(settings_file(tmp_path, "a", mongo))
    ran(settings)
    affinities(tmp_path, LONG)
    delete_many = pymongo.collection.Collection.delete_many

    def die(self: Any, filters: Any, **options: Any) -> Any:
        if "fingerprint" in filters:
            raise KeyboardInterrupt
        return delete_many(self, filters, **options)

    with monkeypatch.context() as patched:
        patched.setattr(pymongo.collection.Collection, "delete_many", die)
        with pytest.raises(KeyboardInterrupt):
            ran(settings)
    results = ran(settings)
    assert results["edges"].blocks_skipped == 4
    assert results["edges"].blocks_done == 16
    assert sums(settings.output) == fresh


def test_the_identity_is_that_of_an_import(tmp_path: Path) -> None:
    """The checksum of the first sections of an import of many is the identity of an import of these alone."""
    data = cells((21, 9, 8))[0]
    np.savez(tmp_path / "all.npz", a=data)
    np.savez(tmp_path / "some.npz", a=data[:, :13, :7])
    for name, block in (("all", (8, 4, 4)), ("some", (5, 9, 3))):
        import_volume(tmp_path / f"{name}.npz", tmp_path / "in.zarr" / name, offsets=NEAREST, block=block)
    whole, part = (Volume(path=tmp_path / "in.zarr" / name) for name in ("all", "some"))
    assert content_identity(whole, (13, 7, 8)) == info(part).attributes["identity"]
    assert content_identity(whole, (21, 9, 8)) == info(whole).attributes["identity"]
    assert content_identity(whole, (13, 9, 8)) != info(part).attributes["identity"]


@pytest.fixture(scope="module")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty database."""
    with mongo_server(tmp_path_factory.mktemp("mongo")) as address:
        yield fresh_database(address)
