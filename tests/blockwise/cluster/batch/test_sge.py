"""Runs on a real Grid Engine, whose jobs are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blockwise.cluster.settings import Cluster
from tests.blockwise.cluster.batch.test_slurm import Once, run, undisturbed
from tests.support.gridengine import GridEngine, running_gridengine
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GridEngine]:
    """Started once, ended when all tests are through."""
    with running_gridengine(tmp_path_factory.mktemp("gridengine")) as found:
        yield found


@pytest.fixture
def engine(shared_engine: GridEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[GridEngine]:
    """With an empty queue; jobs find the stages of the tests."""
    for name, value in {**shared_engine.names, "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    yield shared_engine
    shared_engine.delete(*shared_engine.jobs())
    shared_engine.wait_until_empty(90)


def settings(folder: Path) -> Cluster:
    """Two workers; jobs get the environment of the run, as those of other batch systems do."""
    given = {"kind": "sge", "workers": 2, "memory": "400MB", "dashboard": False, "directives": ["-V"]}
    given |= {"job_logs": str(folder / "jobs"), "shared_folder": str(folder / "shared")}
    return Cluster.parse(given, "cluster")


def test_all_jobs_may_be_deleted_in_the_middle(engine: GridEngine, tmp_path, caplog):
    """They are submitted again, the result is that of an undisturbed run, and no job is left behind."""
    deleted: list[str] = []

    def delete() -> None:
        deleted.extend(engine.jobs())
        engine.delete(*deleted)

    watch = Once(delete, 5)
    assert run(tmp_path, settings(tmp_path), 25, 0.3, watch) == undisturbed(tmp_path / "here", 25)
    assert deleted
    assert caplog.text.count("is lost, job") == len(deleted)
    engine.wait_until_empty(10)
