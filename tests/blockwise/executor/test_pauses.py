"""Workers that Dask has paused for their memory: named in time, started again, or the end of the run."""

from __future__ import annotations

import logging
import time

import dask
import distributed  # noqa: F401 - its configuration is there before it is changed
import pytest

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import OnDask
from blockwise.executor.ondask import pauses
from blockwise.executor.ondask.pauses import OVER_S, SAY_S, STUCK_S, Load, Pauses, load_of
from blockwise.store import Store
from tests.support.toys import Idle

MB = 1_000_000


def load(executing: int = 0, waiting: int = 0, is_paused: bool = True) -> Load:
    """Of a worker that uses 85 of 100 MB."""
    return Load("first", is_paused, executing, waiting, 85 * MB, 100 * MB)


def watch(seconds: float, one: Load, watched: Pauses | None = None, begin: float = 0.0) -> Pauses:
    """What is known when a worker has been like this for so long."""
    watched = watched or Pauses()
    for second in range(int(seconds) + 1):
        watched.note(begin + second, {"tcp://w": one})
    return watched


def test_a_pause_is_said_once_with_the_memory():
    """Not at once, as most end by themselves; within half a minute; again only if it begins again."""
    assert watch(SAY_S - 1, load()).to_say() == []
    watched = watch(SAY_S, load(executing=1))
    (line,) = watched.to_say()
    assert "tcp://w" in line
    assert "85 of 100 MB, 85%" in line
    assert "cluster.memory" in line
    assert watched.to_say() == []
    watch(5, load(is_paused=False), watched, 100)
    watch(SAY_S, load(), watched, 200)
    assert len(watched.to_say()) == 1
    assert SAY_S < 30


def test_a_paused_worker_with_nothing_running_is_started_again_once():
    """Its memory does not become less by itself; if it comes back as large, nothing is won by doing so again."""
    assert watch(STUCK_S - 1, load()).to_restart() == []
    watched = watch(STUCK_S, load(waiting=2))
    assert watched.to_restart() == ["tcp://w"]
    assert watched.to_restart() == []
    again = Pauses()
    for begin, address in ((0, "tcp://w"), (1000, "tcp://new")):
        for second in range(int(STUCK_S) + 1):
            again.note(begin + second, {address: load(waiting=2)})
        assert again.to_restart() == (["tcp://w"] if begin == 0 else [])
    assert again.over() == ""
    for second in range(int(OVER_S)):
        again.note(1000 + STUCK_S + second, {"tcp://new": load(waiting=2)})
    assert "tcp://new is paused" in again.over()


def test_a_paused_worker_that_computes_is_left_alone():
    """However long its block takes; nobody waits in vain."""
    watched = watch(100 * OVER_S, load(executing=1, waiting=3))
    assert (watched.to_restart(), watched.over(), watched.is_there("tcp://w")) == ([], "", True)


def test_a_paused_worker_that_holds_nothing_does_not_end_the_run():
    """Others do the work; it does not count as one that can."""
    watched = Pauses()
    for second in range(int(10 * OVER_S)):
        watched.note(second, {"tcp://w": load(), "tcp://other": load(executing=1, is_paused=False)})
    watched.to_restart()
    assert watched.over() == ""
    assert not watched.is_there("tcp://w")
    assert watched.is_there("tcp://other")


def test_nobody_waits_for_workers_that_are_all_paused():
    """Blocks would not even be given to them."""
    watched = watch(STUCK_S, load())
    watched.to_restart()
    assert watched.over() == ""
    for second in range(int(OVER_S) + 1):
        watched.note(1000 + second, {"tcp://new": load()})
    assert "85 of 100 MB" in watched.over()


def test_the_drivers_own_silence_is_no_pause():
    """If the driver was stopped meanwhile, nobody knows how the workers were."""
    watched = Pauses()
    watched.note(0, {"tcp://w": load()})
    watched.note(1000, {"tcp://w": load()})
    assert (watched.to_say(), watched.to_restart()) == ([], [])


@pytest.fixture
def impatient(monkeypatch):
    """The same decisions in seconds."""
    for name in ("SAY_S", "STUCK_S", "OVER_S"):
        monkeypatch.setattr(pauses, name, getattr(pauses, name) / 10)


def test_a_run_whose_workers_are_all_paused_ends_by_name(impatient, caplog, store: Store):
    """A worker that takes more of its memory than it should even without a block; as Dask would pause it at 80 %."""
    begin = time.monotonic()
    with (
        dask.config.set({"distributed.worker.memory.pause": 0.001}),
        caplog.at_level(logging.WARNING),
        open_cluster(Cluster(workers=1, threads=2, dashboard=False)) as client,
        OnDask(client, store.url) as executor,
        pytest.raises(WorkFailed, match=r"paused by Dask.*raise cluster\.memory"),
    ):
        run_stages([Idle(blocks=40, seconds=0.2)], store, executor, RunOptions())
    assert time.monotonic() - begin < 60
    assert any("is paused by Dask: it uses" in line for line in caplog.messages)


def test_one_thread_a_worker_is_never_paused(store: Store):
    """There is no other block whose end it could wait for, so it goes on."""
    with (
        dask.config.set({"distributed.worker.memory.pause": 0.001}),
        open_cluster(Cluster(workers=1, dashboard=False)) as client,
        OnDask(client, store.url) as executor,
    ):
        run_stages([Idle(blocks=4)], store, executor, RunOptions())
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].items()
    assert not load_of(*worker).is_paused
