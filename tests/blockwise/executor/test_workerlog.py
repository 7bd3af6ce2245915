"""Which process a block was given to, and which workers were lost."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import Executor, OnDask
from blockwise.executor.ondask.endings import LostWorkers
from blockwise.executor.workerlog import lost_workers, note_given, note_lost, worker_of
from blockwise.store import Store
from tests.faults.planned import DIE_BEFORE_WRITE, RAISE, plan
from tests.support.toys import Idle


def test_each_block_has_its_worker(executor: Executor, store: Store, tmp_path):
    """Also one that failed; one that is none of the stage has nobody."""
    executor.keep_logs(tmp_path / "logs")
    faults = plan(tmp_path / "faults", {2: [RAISE] * 3})
    with pytest.raises(WorkFailed):
        run_stages([Idle(blocks=5, faults=faults)], store, executor)
    for key in range(5):
        found = worker_of(tmp_path / "logs", "idle", key)
        assert found is not None
        machine, _, process = found["process"].rpartition("-")
        assert machine == socket.gethostname()
        is_here = int(process) == os.getpid()
        assert is_here != isinstance(executor, OnDask)
        assert found["worker"].startswith("tcp://") != is_here
    assert worker_of(tmp_path / "logs", "idle", 5) is None
    assert worker_of(tmp_path / "logs", "others", 0) is None


def test_who_had_a_block_last_counts(tmp_path, monkeypatch):
    """Whatever the order of files, and numbers of blocks that hold each other as text are not mixed up."""
    at_s = [100.0]
    monkeypatch.setattr("blockwise.executor.workerlog.time.time", lambda: at_s[0])
    for at, process, keys in ((100.0, 7, [1, 12, 123]), (300.0, 5, [12]), (200.0, 9, [12, 2])):
        at_s[0] = at
        monkeypatch.setattr("blockwise.executor.workerlog.os.getpid", lambda process=process: process)
        note_given(tmp_path, "idle", f"tcp://w{process}", keys)
    found = {key: worker_of(tmp_path, "idle", key) for key in (1, 2, 12, 23, 123)}
    workers = {key: one["worker"][-1] if one else None for key, one in found.items()}
    assert workers == {1: "7", 2: "9", 12: "5", 23: None, 123: "7"}


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    """As of a driver that was killed while it wrote; lines before it are there."""
    assert lost_workers(tmp_path) == []
    note_lost(tmp_path, "tcp://a", "signal SIGKILL")
    note_lost(tmp_path, "tcp://b", "exit code 3")
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:-5])
    assert [(one["worker"], one["how"]) for one in lost_workers(tmp_path)] == [("tcp://a", "signal SIGKILL")]


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path):
    """The work is worth more than a note about it."""
    (tmp_path / "logs").write_text("")
    note_given(tmp_path / "logs", "idle", "", [1])
    note_lost(tmp_path / "logs", "tcp://a", "signal SIGKILL")
    assert (tmp_path / "logs").read_text() == ""


def test_a_worker_is_lost_once(tmp_path):
    """Who goes without a word is named when nobody has told the cause in time, by its address or by its name."""
    lost = LostWorkers()
    lost.into(tmp_path)
    lost.went("tcp://a", "slurm-1")
    lost.went("tcp://b", "slurm-2")
    lost.went("tcp://c", "slurm-3")
    lost.say("tcp://a", "signal SIGKILL")
    lost.say("tcp://a", "exit code 1")
    lost.say("slurm-2", "job 7 ended: CANCELLED", line="")
    lost.settle()
    assert [one["worker"] for one in lost_workers(tmp_path)] == ["tcp://a", "slurm-2"]
    lost.settle(0.0)
    lost.settle(0.0)
    rows = [(one["worker"], one["how"].partition(",")[0]) for one in lost_workers(tmp_path)]
    assert rows[2:] == [("tcp://c", "its connection ended while it had blocks")]


def test_a_worker_that_dies_with_its_block_is_noted(store: Store, dask_client, tmp_path: Path):
    """With its cause, and the block says who had it: the one that did it in the end."""
    faults = plan(tmp_path / "faults", {1: [DIE_BEFORE_WRITE]})
    with OnDask(dask_client, store.url) as executor:
        executor.keep_logs(tmp_path / "logs")
        run_stages([Idle(blocks=3, faults=faults)], store, executor)
    (found,) = lost_workers(tmp_path / "logs")
    assert found["how"].startswith("signal SIGKILL")
    last = worker_of(tmp_path / "logs", "idle", 1)
    assert last is not None
    assert last["worker"] != found["worker"]
