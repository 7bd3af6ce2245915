"""An output and its progress belong together: removed by hand, removed by `clean`, several in one store, one gone."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
import pytest
import yaml

from blockwise.arrays.volume import Volume
from blockwise.files.locks import only_one
from contraband.cli import call
from tests.support.servers import fresh_database, mongo_server
from tests.support.volumes import cells, digest, store_volume

SHAPE = (8, 12, 16)
SETTINGS: dict[str, Any] = {
    "affinities": "vol.zarr/affinities",
    "volume": {"labels": "vol.zarr/labels"},
    "output": "out/a.zarr",
    "blocks": {"shape": [4, 12, 16]},
    "cluster": {"kind": "none"},
}
SEGMENTS = Volume(path=Path("out/a.zarr/segments/0.5"))
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MongoDB server."""
    with mongo_server(tmp_path_factory.mktemp("mongo")) as address:
        yield address


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request: pytest.FixtureRequest) -> str | None:
    """The key `store` of the settings."""
    return None if request.param == "sqlite" else fresh_database(request.getfixturevalue("server"))


@pytest.fixture
def volume(in_tmp: Path, store: str | None) -> Path:
    """A settings file in a working folder with a small volume."""
    affinities, labels = cells(SHAPE)
    store_volume(in_tmp / "vol.zarr" / "affinities", affinities)
    store_volume(in_tmp / "vol.zarr" / "labels", labels)
    path = in_tmp / "vol.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, "store": store}))
    return path


@pytest.fixture
def run(volume: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on the settings file; its exit code, stdout and stderr."""

    def command(name: str, *more: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call([name, str(volume), *more])
        return code, *capsys.readouterr()

    return command


def states(run: Run, *more: str) -> dict[str, str]:
    """The state of every stage."""
    code, out, _ = run("status", "--json", *more)
    assert code == 0
    return {row["stage"]: row["state"] for row in json.loads(out.splitlines()[-1])["stages"]}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_starts_again_where_its_output_was_removed(run):
    """It says so, makes everything again with the same result, and is at home in the store afterwards."""
    assert run("run")[0] == 0
    before = digest(SEGMENTS)
    shutil.rmtree("out/a.zarr")
    assert set(states(run).values()) == {"gone", "done"}
    code, _, err = run("run")
    assert code == 0
    assert "out/a.zarr is gone" in err
    assert "done before" not in err
    assert digest(SEGMENTS) == before
    code, _, err = run("run")
    assert (code, "gone" in err, "done before" in err) == (0, False, True)
    assert set(states(run).values()) == {"done"}


def test_progress_of_an_output_that_is_gone_is_kept_if_the_run_is_refused(run):
    """Whoever moved the output away may move it back."""
    assert run("run")[0] == 0
    Path("out/a.zarr").rename("moved.zarr")
    assert run("run", "--from", "segment")[0] == 2
    assert run("run", "--set", "fragments.smooth=-1")[0] == 2
    assert not Path("out/a.zarr").exists()
    Path("moved.zarr").rename("out/a.zarr")
    assert "done before" in run("run")[2]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_store_of_an_output_elsewhere_is_not_taken_for_one_that_is_gone(run):
    """Not even if nothing lies where it should; and its output goes on with it."""
    assert run("run")[0] == 0
    code, _, err = run("run", "--set", "output=out/b.zarr", "--set", "store=sqlite:///out/a.db")
    assert (code, "belongs to another output" in err, "out/a.zarr" in err) == (2, True, True)
    assert "done before" in run("run")[2]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_store_of_the_version_before_is_known_by_what_its_stages_wrote(run):
    """That version noted no place."""
    assert run("run")[0] == 0
    with sqlite3.connect("out/a.db") as connection:
        connection.execute("delete from meta where name = 'place'")
    connection.close()
    shutil.rmtree("out/a.zarr")
    assert "is gone" in run("run")[2]


def test_a_run_says_that_the_store_of_its_output_is_gone(run, store):
    """All is made again, which may take days; the first run, of an output that is not there, says nothing."""
    assert "knows nothing of" not in run("run")[2]
    before = digest(SEGMENTS)
    if store is None:
        Path("out/a.db").unlink()
        code, _, said = run("run")
    else:
        code, _, said = run("run", "--set", f"store={store}_other")
    assert (code, "out/a.zarr: what is there is made again" in said) == (0, True), said
    assert digest(SEGMENTS) == before
    assert "knows nothing of" not in run("run", "--set", f"store={store}_other" if store else "store=null")[2]


def test_an_output_may_be_moved(run):
    """Its identity goes with it, so what is finished is not made again."""
    assert run("run")[0] == 0
    Path("out/a.zarr").rename("out/b.zarr")
    if Path("out/a.db").exists():
        Path("out/a.db").rename("out/b.db")
    code, _, err = run("run", "--set", "output=out/b.zarr", "--to", "edges", "--redo", "fragments")
    assert (code, "is gone" in err) == (0, False)
    assert "done before" in run("run", "--set", "output=out/b.zarr", "--to", "edges")[2]


@pytest.mark.parametrize("store", ["mongodb"], indirect=True)
def test_two_outputs_share_a_database(run, store):
    """Each runs, goes on and is removed as if it were alone; progress of one that is gone does not stop the other."""
    other = ("--set", "output=out/b.zarr", "--set", "blocks.shape=[8, 6, 8]")
    assert [run("run", *more)[0] for more in ((), other, (), other)] == [0] * 4
    assert digest(SEGMENTS) == digest(Volume(path=Path("out/b.zarr/segments/0.5")))
    assert set(states(run, *other).values()) == {"done"}
    shutil.rmtree("out/a.zarr")
    assert "is gone" not in run("run", *other)[2]
    assert "is gone" in run("run")[2]
    assert run("clean")[0] == 0
    assert set(states(run).values()) == {"0%"}
    assert set(states(run, *other).values()) == {"done"}
    assert run("clean", *other)[0] == 0
    with pymongo.MongoClient(store) as client:
        database = client.get_default_database()
        assert database.list_collection_names() in ([], ["meta"])
        assert database.meta.count_documents({}) == 0


def test_clean_removes_output_and_progress_and_names_them(run):
    """Nothing else in the folder is touched, and the next run starts from nothing."""
    assert run("run")[0] == 0
    before = content(Path("vol.zarr"))
    code, out, _ = run("clean", "--yes", "--json")
    assert code == 0
    for word in ("out/a.zarr", "fragments", "segments/0.5", "evaluation.json", "progress"):
        assert word in out
    assert "out/a.zarr/fragments" in json.loads(out.splitlines()[-1])["removed"]
    assert list(Path("out").iterdir()) == []
    assert content(Path("vol.zarr")) == before
    assert set(states(run).values()) == {"0%"}
    assert run("clean")[1].strip() == "nothing to remove"
    assert "done before" not in run("run")[2]


def test_clean_removes_progress_of_an_output_that_is_gone(run):
    """What `rm -r` has left."""
    assert run("run")[0] == 0
    shutil.rmtree("out/a.zarr")
    assert "progress" in run("clean")[1]
    assert list(Path("out").iterdir()) == []
    assert "is gone" not in run("run")[2]


def test_a_dry_run_of_clean_changes_nothing(run):
    """It says the same."""
    assert run("run")[0] == 0
    before = content(Path("."))
    dry = run("clean", "--dry-run")[1]
    assert content(Path(".")) == before
    assert run("clean")[1] == dry


def test_clean_keeps_what_the_run_has_not_made(run):
    """Files of others, inputs that lie in the output, links; the line names each, and a run may go on there."""
    store_volume(Path("out/a.zarr/affinities"), cells(SHAPE)[0])
    inside = ("--set", "affinities=out/a.zarr/affinities")
    assert run("run", *inside)[0] == 0
    Path("out/a.zarr/notes.txt").write_text("mine")
    Path("out/a.zarr/report.json").unlink()
    Path("out/a.zarr/report.json").symlink_to(Path("vol.yaml").absolute())
    Path("out/a.zarr/segments/proofread").mkdir()
    before = content(Path("out/a.zarr/affinities"))
    code, out, _ = run("clean", *inside)
    assert code == 0
    kept = {"affinities", "notes.txt", "report.json", "segments/proofread"}
    assert {line.split()[1] for line in out.splitlines() if line.startswith("keep")} == {
        f"out/a.zarr/{name}:" for name in kept
    }
    assert content(Path("out/a.zarr/affinities")) == before
    assert Path("vol.yaml").exists()
    assert not Path("out/a.zarr/fragments").exists()
    Path("out/a.zarr/report.json").unlink()
    assert run("run", *inside)[0] == 0


def test_clean_refuses_while_a_run_holds_the_output(run, monkeypatch):
    """Nothing is removed then."""
    assert run("run")[0] == 0
    before = content(Path("out"))
    refuse = OSError(11, "Resource temporarily unavailable")

    def held(*_: object) -> None:
        raise refuse

    with only_one(Path("out/a.zarr/.lock"), "out", "is taken"):
        monkeypatch.setattr("fcntl.lockf", held)  # as another process would see it: a process does not lock itself out
        code, _, err = run("clean")
    assert (code, "another run is writing here" in err) == (2, True)
    assert content(Path("out")) == before


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_clean_refuses_an_output_that_no_run_has_made(run):
    """And leaves it as it is."""
    shutil.copytree("vol.zarr", "out/a.zarr")
    before = content(Path("."))
    code, _, err = run("clean")
    assert (code, "was not made by a run" in err or "is not a zarr group" in err) == (2, True)
    assert content(Path(".")) == before


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_clean_keeps_a_store_of_another_output(run):
    """Only the output goes."""
    assert run("run")[0] == 0
    assert run("run", "--set", "output=out/b.zarr")[0] == 0
    code, out, _ = run("clean", "--set", "store=sqlite:///out/b.db")
    assert (code, "belongs to another output" in out) == (0, True)
    assert not Path("out/a.zarr").exists()
    assert run("run", "--set", "output=out/b.zarr")[2].count("done before") == 5


def test_status_names_what_is_stale_and_what_is_gone(run):
    """The stage, what has changed since it was made, all stages after it, and the paths."""
    assert run("run")[0] == 0
    assert set(states(run).values()) == {"done"}
    changed = states(run, "--set", "agglomerate.stop=0.2")
    assert changed["fragments"] == changed["edges"] == "done"
    assert changed["agglomerate"] == changed["segment/0.5"] == changed["evaluate"] == "stale"
    out = run("status", "--set", "agglomerate.stop=0.2")[1]
    assert "agglomerate: stale, agglomerate.stop was 0.0, is now 0.2" in out
    for name in ("segments", "agglomeration"):
        shutil.rmtree(f"out/a.zarr/{name}")
    Path("out/a.zarr/evaluation.json").unlink()
    assert states(run) == {
        "fragments": "done",
        "edges": "done",
        "agglomerate": "gone",
        "segment/0.5": "gone",
        "evaluate": "gone",
    }
    assert "out/a.zarr/segments/0.5 is gone" in run("status")[1]


@pytest.mark.parametrize("name", ["fragments", "agglomeration", "segments/0.5", "evaluation.json"])
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_run_names_the_part_of_its_output_that_is_gone(run, name):
    """And goes on once that stage is made again."""
    assert run("run")[0] == 0
    before = np.asarray(digest(SEGMENTS))
    gone = Path("out/a.zarr", name)
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    code, _, err = run("run")
    stage = {"agglomeration": "agglomerate", "segments/0.5": "segment", "evaluation.json": "evaluate"}.get(name, name)
    assert (code, f"{name}: is gone" in err, f"--redo {stage}" in err) == (2, True, True)
    assert run("run", "--redo", stage)[0] == 0
    assert digest(SEGMENTS) == before
