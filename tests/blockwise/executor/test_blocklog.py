"""What is logged within blocks: kept by stage, for each block, also of a worker that was killed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import Executor, OnDask
from blockwise.executor.blocklog import BlockLog, read_lines
from blockwise.store import Store
from tests.faults.planned import DIE_BEFORE_WRITE, RAISE, plan
from tests.support.toys import Idle, Talks


def texts(folder: Path, stage: str, key: int) -> list[str]:
    """Level and text of each line of a block."""
    return [f"{line['level']} {line['text']}" for line in read_lines(folder, stage, key)]


def test_every_block_has_its_own_lines(executor: Executor, store: Store, tmp_path, caplog):
    """From the level INFO on; blocks that say nothing leave no file."""
    caplog.set_level(logging.INFO)  # in this process it is the user's choice
    executor.keep_logs(tmp_path / "logs")
    run_stages([Talks(blocks=5)], store, executor)
    for key in range(5):
        assert texts(tmp_path / "logs", "idle", key) == [f"INFO at work on {key}", f"WARNING strange in {key}"]
    assert not texts(tmp_path / "logs", "idle", 5)
    store.clear("idle")
    executor.keep_logs(tmp_path / "others")
    run_stages([Idle(blocks=5)], store, executor)
    assert not list((tmp_path / "others").rglob("*.jsonl"))


def test_a_block_that_failed_has_its_error_among_its_lines(executor: Executor, store: Store, tmp_path, caplog):
    """Once for each attempt."""
    caplog.set_level(logging.INFO)
    executor.keep_logs(tmp_path / "logs")
    faults = plan(tmp_path / "faults", {2: [RAISE] * 3})
    with pytest.raises(WorkFailed):
        run_stages([Talks(blocks=4, faults=faults)], store, executor)
    found = texts(tmp_path / "logs", "idle", 2)
    assert sum("block (0, 0, 2) failed: " in text for text in found) == 3
    assert texts(tmp_path / "logs", "idle", 3) == ["INFO at work on 3", "WARNING strange in 3"]


def test_what_a_killed_worker_said_is_there(store: Store, tmp_path):
    """Up to its last line."""
    faults = plan(tmp_path / "faults", {1: [DIE_BEFORE_WRITE]})
    with open_cluster(Cluster(workers=1, dashboard=False)) as client, OnDask(client, store.url) as executor:
        executor.keep_logs(tmp_path / "logs")
        run_stages([Talks(blocks=3, faults=faults)], store, executor)
    found = read_lines(tmp_path / "logs", "idle", 1)
    assert [line["text"] for line in found] == ["at work on 1", "at work on 1", "strange in 1"]
    assert len({line["process"] for line in found}) == 2


def test_a_folder_that_cannot_be_written_ends_no_block(store: Store, executor: Executor, tmp_path):
    """The work is worth more than its log."""
    (tmp_path / "logs").write_text("")
    executor.keep_logs(tmp_path / "logs")
    (result,) = run_stages([Talks(blocks=3)], store, executor)
    assert result.blocks_done == 3


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    """As of a process that was killed while it wrote, or on a disk that was full."""
    handler = BlockLog()
    handler.into(tmp_path)
    with handler.of_block("idle", 7):
        handler.handle(logging.makeLogRecord({"msg": "whole", "levelno": logging.INFO, "levelname": "INFO"}))
    handler.into(None)
    (path,) = (tmp_path / "idle").iterdir()
    path.write_text(path.read_text() + path.read_text()[:-5])
    assert texts(tmp_path, "idle", 7) == ["INFO whole"]
    logging.getLogger().removeHandler(handler)


def test_code_that_logs_in_a_loop_does_not_fill_the_disk(tmp_path, monkeypatch):
    """A process keeps so much of a stage and no more."""
    monkeypatch.setattr("blockwise.executor.blocklog._MOST_BYTES", 10_000)
    handler = BlockLog()
    handler.into(tmp_path)
    with handler.of_block("idle", 7):
        for _ in range(1000):
            handler.handle(logging.makeLogRecord({"msg": "again", "levelno": logging.INFO, "levelname": "INFO"}))
    handler.into(None)
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "idle").iterdir()) < 11_000
    logging.getLogger().removeHandler(handler)
