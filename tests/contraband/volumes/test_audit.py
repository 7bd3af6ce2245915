"""The audit of a finished run: clean runs pass, and every kind of damage where blocks meet is named with its place."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, read, write
from blockwise.grid import Grid, Voxels, pack
from blockwise.stages.tables import EDGES, LINKS
from blockwise.store import Store, open_store
from blockwise.store.table import Table
from contraband.cli import call
from contraband.experiments.train import train_seg
from contraband.volumes.audit.differences import fragment_differences, prediction_differences
from contraband.volumes.audit.places import Seam, places
from tests.support.tiny import tiny_experiment
from tests.support.volumes import cells, store_volume

SHAPE, BLOCK = (60, 72, 80), (20, 36, 40)
GRID = Grid("segment", SHAPE, BLOCK)
SAMPLES = 7
EVERYTHING = Roi((0, 0, 0), SHAPE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, cut into blocks."""
    folder = tmp_path_factory.mktemp("audited")
    store_volume(folder / "vol.zarr" / "affinities", cells(SHAPE)[0], voxel_size=[4, 2, 2], offset=[100, 0, 10])
    settings = {
        "affinities": "vol.zarr/affinities",
        "output": "out.zarr",
        "blocks": {"shape": list(BLOCK)},
        "segment": {"thresholds": [0.3, 0.5]},
        "cluster": {"kind": "none"},
        "store": "sqlite:///out.db",
    }
    (folder / "vol.yaml").write_text(yaml.safe_dump(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(["run", "vol.yaml"]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be damaged; the working folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def audited(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """Exit code and last line on stderr."""
    capsys.readouterr()
    code = call(["audit", "vol.yaml", "--samples", str(SAMPLES), *more])
    return code, (capsys.readouterr().err.strip().splitlines() or [""])[-1]


def sampled(kind: str) -> Voxels:
    """A place of this kind that the audit looks at."""
    return next(place.voxel for place in places(GRID, SAMPLES, 0) if place.kind == kind)


def change(name: str, voxel: Voxels) -> None:
    """Give one voxel of an output the number of another."""
    target, roi = Volume(path=Path("out.zarr") / name), Roi(voxel, (1, 1, 1))
    largest = read(target, EVERYTHING).max()
    assert (read(target, roi) != largest).all()
    write(target, roi, np.full((1, 1, 1), largest))


def opened() -> Store:
    """The run's store."""
    return open_store(f"sqlite:///{Path('out.db').absolute()}")


def test_a_finished_run_passes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is compared, nothing differs, and nothing is written."""
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert call(["audit", "vol.yaml", "--samples", str(SAMPLES), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["mismatches"] == []
    assert set(found["compared"]) == {"fragments", "segment", "edges"}
    assert min(found["compared"].values()) > 1000
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.suffix != ".db"}.items() <= before.items()


@pytest.mark.parametrize("kind", ["face", "edge", "corner"])
@pytest.mark.parametrize("name", ["fragments", "segments/0.5"])
def test_one_voxel_is_found(name: str, kind: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One other voxel where blocks meet ends with exit code 1 and its place, in voxels and in the world."""
    voxel = sampled(kind)
    change(name, voxel)
    code, line = audited(capsys)
    assert code == 1
    assert str(voxel) in line
    z, y, x = voxel
    assert str((100 + 4 * z + 2.0, 2 * y + 1.0, 10 + 2 * x + 1.0)) in line
    assert "--redo" in line


def test_a_shifted_block_is_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A block that was stored one voxel further along x."""
    target, roi = Volume(path=Path("out.zarr/fragments")), Roi(sampled("corner"), BLOCK).intersect(EVERYTHING)
    write(target, roi, np.roll(read(target, roi), 1, axis=2))
    code, line = audited(capsys)
    assert code == 1
    assert line.startswith("contraband: fragments: what is stored at voxel")


def test_a_lost_block_is_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A block whose shard is gone reads as background."""
    index = "/".join(str(at // step) for at, step in zip(sampled("corner"), BLOCK, strict=True))
    (run / "out.zarr" / "fragments" / "c" / index).unlink()
    code, line = audited(capsys)
    assert code == 1
    assert "background and foreground are exchanged" in line


def test_fragments_joined_by_mistake_are_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two fragments that lie side by side at a corner under one number, wherever their voxels are."""
    target = Volume(path=Path("out.zarr/fragments"))
    ids, (z, y, x) = read(target, EVERYTHING), sampled("corner")
    one, *others = np.unique(ids[z - 6 : z + 6, y - 6 : y + 6, x - 6 : x + 6])
    write(target, EVERYTHING, np.where(ids == others[0], one, ids))
    code, line = audited(capsys)
    assert code == 1
    assert line.startswith("contraband: fragments")


@pytest.mark.parametrize("table", [LINKS, EDGES], ids=["links", "edges"])
def test_a_changed_table_is_found(table: Table, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link bit or an edge in the store that is not what the volume says."""
    voxel = next(place.voxel for place in places(GRID, SAMPLES, 0) if place.kind == "face")
    index = tuple(at // step for at, step in zip(voxel, BLOCK, strict=True))
    store = opened()
    block = GRID.block_at(pack((index[0], index[1], index[2])))
    rows = store.get(table, block.key)
    assert rows is not None
    rows = rows.copy()
    rows["bits" if table is LINKS else "sum"] ^= 255 if table is LINKS else 1
    store.put(table, block.key, rows, block.write_roi)
    store.close()
    code, line = audited(capsys)
    assert code == 1
    assert ("fragments" if table is LINKS else "edges: what is stored") in line


def test_only_a_finished_run_is_audited(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other settings, a threshold that was not made, an output that is gone: exit code 2 and the reason."""
    assert audited(capsys, "--set", "fragments.smooth=1.0")[0] == 2
    code, line = audited(capsys, "--set", "segment.thresholds=[0.7]")
    assert (code, "segment/0.7: is not finished" in line) == (2, True)
    assert audited(capsys, "--samples", "0")[0] == 2
    shutil.rmtree("out.zarr")
    code, line = audited(capsys)
    assert (code, "out.zarr" in line) == (2, True)
    assert not Path("out.zarr").exists()


def test_a_prediction_is_made_anew(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Predicted affinities pass; one count of 255 passes and is told, two are named with the place."""
    experiment, params = tiny_experiment(in_tmp, 2, baseline=True, seg_head="Simple")
    settings = {
        "volume": {"raw": "data.zarr/raw"},
        "output": "out.zarr",
        "blocks": {"shape": [20, 40, 20]},
        "model": {"checkpoint": str(train_seg(params, experiment, 0)[0]), "precision": "float32"},
        "fragments": {"per_section": True},
        "cluster": {"kind": "none"},
    }
    (in_tmp / "vol.yaml").write_text(yaml.safe_dump(settings))
    assert call(["run", "vol.yaml"]) == 0
    assert audited(capsys) == (0, "")
    voxel = places(Grid("", (40, 40, 40), (20, 40, 20)), 1, 0)[0].voxel
    target, roi = Volume(path=Path("out.zarr/affinities")), Roi(voxel, (1, 1, 1))
    value = read(target, roi)
    step = np.where(value > 100, -1, 1)
    write(target, roi, (value + step).astype(np.uint8))
    call(["audit", "vol.yaml", "--samples", "1"])
    assert "2 values differ by no more than rounding" in capsys.readouterr().out
    write(target, roi, (value + 2 * step).astype(np.uint8))
    code, line = audited(capsys, "--samples", "1")
    assert code == 1
    assert line.startswith(f"contraband: predict: what is stored at voxel {voxel}")


def test_places_are_chosen_evenly() -> None:
    """Every direction of corner, edge and face in turn, each where blocks meet; more samples keep the first ones."""
    chosen = places(GRID, 140, 3)
    assert chosen[: len(places(GRID, 20, 3))] == places(GRID, 20, 3)
    assert chosen[:20] != places(GRID, 20, 4)
    assert len({place.across for place in chosen}) == 7
    assert all(place.voxel[axis] % BLOCK[axis] == 0 < place.voxel[axis] for place in chosen for axis in place.across)
    assert min(Counter(place.across for place in chosen if place.kind == "face").values()) >= 19
    flat = places(Grid("", (1, 72, 80), (1, 36, 80)), 5, 0)
    assert {place.across for place in flat} == {(1,)}
    assert {place.kind for place in places(Grid("", SHAPE, SHAPE), 5, 0)} == {"inside"}


def test_a_window_is_cut_off_at_the_volume() -> None:
    """It reaches so far on both sides of the place, within the volume."""
    assert Seam((20, 1, 79), (0,)).window(5, SHAPE) == Roi((15, 0, 74), (10, 6, 6))


def test_what_is_known_of_a_fragment_that_leaves_the_window() -> None:
    """Its number may be smaller than its voxels here, but never that of a fragment that ends here, nor too large."""
    volume, begin = (1, 1, 10), (0, 0, 4)
    computed = np.array([[[5, 5, 7, 8, 8]]], np.uint64)

    def wrong(*stored: int) -> list[str]:
        numbers = np.array([[stored]], np.uint64)
        return [one.text.partition(": ")[2] for one in fragment_differences(numbers, computed, begin, volume)]

    assert wrong(2, 2, 7, 8, 8) == []
    assert wrong(2, 2, 7, 2, 2) == []  # both leave the window and may meet outside of it
    assert wrong(2, 2, 6, 8, 8) == ["the whole fragment is known to be 7"]
    assert wrong(2, 2, 7, 7, 7) == ["this number is that of a whole fragment elsewhere"]
    assert wrong(9, 9, 7, 8, 8) == ["larger than 5, to which it is linked"]
    assert wrong(2, 3, 7, 8, 8) == ["linked with voxels of the number 3"]
    assert wrong(2, 2, 7, 6, 6) == ["the voxel this number stands for has another"]
    assert wrong(2, 2, 0, 8, 8) == ["background and foreground are exchanged"]


def test_rounding_of_embeddings_is_relative() -> None:
    """float16 may differ by 1/128 of its value; NaN only equals NaN."""
    one = np.array([100, 0, np.nan], np.float16).reshape(3, 1, 1, 1)
    assert prediction_differences(one, np.array([100.5, 0, np.nan], np.float16).reshape(3, 1, 1, 1)) == ([], 1)
    assert prediction_differences(one, np.array([102, 0, np.nan], np.float16).reshape(3, 1, 1, 1))[0]
    assert prediction_differences(one, np.array([100, np.nan, np.nan], np.float16).reshape(3, 1, 1, 1))[0]
