"""Runs on a real Grid Engine, whose jobs are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.executor import OnDask
from blockwise.executor.workerlog import lost_workers
from blockwise.store import open_store
from tests.support.gridengine import GridEngine, running_gridengine
from tests.support.paths import ROOT
from tests.support.submitted import Once, checksum, stage, undisturbed


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
    """They are submitted again, the result is that of an undisturbed run, and no job is left behind.

    The lost workers are noted for the page of the run, by the names of their jobs.
    """
    deleted: list[str] = []

    def delete() -> None:
        deleted.extend(engine.jobs())
        engine.delete(*deleted)

    watch = Once(delete, 5)
    options = RunOptions(progress=lambda name, done, total, note="": watch(done, total))
    smear = stage(tmp_path, 25, 0.3)
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    with open_cluster(settings(tmp_path)) as client, OnDask(client, store.url, batch_limit=1) as executor:
        executor.keep_logs(tmp_path / "logs")
        run_stages([smear], store, executor, options)
    store.close()
    assert checksum(smear.target) == undisturbed(tmp_path / "here", 25)
    assert deleted
    lost = lost_workers(tmp_path / "logs")
    assert {one["how"].split()[1] for one in lost} == set(deleted)
    assert {one["worker"] for one in lost} <= {"sge-1", "sge-2"}
    assert caplog.text.count("is lost, job") == len(deleted)
    engine.wait_until_empty(10)
