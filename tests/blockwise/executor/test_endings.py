"""A worker that is lost is told in one line, with its cause."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.run import run_stages
from blockwise.executor import OnDask
from blockwise.executor.workerlog import lost_workers
from blockwise.store import Store
from tests.support.toys import Ends

WORDS = {
    "signal": "signal SIGKILL (the system's, where memory ran out?)",
    "exit": "exit code 3",
    "memory": "memory: it used more than 95% of its 400 MB; see cluster.memory",
}


@pytest.mark.parametrize("how", WORDS)
def test_a_lost_worker_is_told_with_its_cause(how: str, store: Store, tmp_path: Path, caplog):
    """Once, whether it was killed, ended itself, or used too much memory; one that is closed is not lost."""
    caplog.set_level(logging.WARNING)
    cluster = Cluster(workers=1, memory=400_000_000, dashboard=False)
    with open_cluster(cluster) as client, OnDask(client, store.url) as executor:
        executor.keep_logs(tmp_path / "logs")
        run_stages([Ends(blocks=3, how=how, once=tmp_path / "once")], store, executor)
    told = [line for line in caplog.messages if " is lost: " in line]
    assert len(told) == 1
    assert told[0].endswith(f"is lost: {WORDS[how]}")
    assert [one["how"] for one in lost_workers(tmp_path / "logs")] == [WORDS[how]]
