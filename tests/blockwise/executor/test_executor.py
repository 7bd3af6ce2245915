"""Every block that is submitted comes back once, however it ended."""

from __future__ import annotations

import mmap
import os
import time

import pytest

from blockwise.executor import Executor, OnDask, Outcome, work
from blockwise.executor.ondask import batching
from blockwise.executor.ondask.batching import WINDOW
from blockwise.executor.ondask.worker import PackedStage, pack_stage
from blockwise.executor.work import last_line
from blockwise.stage import Stage
from tests.faults.planned import ALWAYS, DIE_BEFORE_WRITE, EXIT, HANG, RAISE, attempts, plan
from tests.support.toys import Idle


def run_all(executor: Executor, stage: Stage, keys: list[int], attempt: int = 1) -> dict[int, Outcome]:
    """Submit the blocks of a started stage and collect all of them."""
    executor.submit(stage, keys, attempt)
    found: list[Outcome] = []
    end = time.monotonic() + 60
    while len(found) < len(keys) and time.monotonic() < end:
        found += executor.collect(0.5)
    assert sorted(one.key for one in found) == sorted(keys)
    return {one.key: one for one in found}


def test_every_block_comes_back_once_and_measured(executor):
    """Wall time, CPU time and memory of each block are told."""
    stage = Idle(blocks=40, seconds=0.01)
    executor.start(stage)
    found = run_all(executor, stage, list(range(40)))
    assert all(one.ok and not one.error for one in found.values())
    assert all(one.wall_seconds >= 0.01 and one.cpu_seconds >= 0 for one in found.values())
    assert all(one.peak_rss_bytes > 1e6 for one in found.values())
    assert executor.collect(0) == []


def test_an_error_comes_back_as_its_traceback(executor, tmp_path):
    """With the place in the user's code and none of the engine's; the other blocks are fine."""
    stage = Idle(blocks=6, faults=plan(tmp_path / "plan", {3: [RAISE], 4: [EXIT]}))
    executor.start(stage)
    found = run_all(executor, stage, list(range(6)))
    assert sorted(key for key, one in found.items() if not one.ok) == [3, 4]
    assert last_line(found[3].error) == "tests.faults.planned.PlannedError: planned for block 3, attempt 1"
    assert "toys.py" in found[3].error
    assert "work.py" not in found[3].error
    assert "SystemExit" in found[4].error
    assert run_all(executor, stage, [3], attempt=2)[3].ok


def test_a_cancelled_executor_forgets(executor):
    """Nothing comes back afterwards, and another stage can be started."""
    stage = Idle(blocks=20, seconds=0.02)
    executor.start(stage)
    executor.submit(stage, list(range(20)), 1)
    executor.cancel()
    assert executor.collect(0.2) == []
    executor.start(stage)
    run_all(executor, stage, [1, 2])


def test_cheap_blocks_share_a_future(dask_client, store):
    """Once it is known that blocks are cheap, far fewer futures than blocks are submitted."""
    with OnDask(dask_client, store.url) as executor:
        stage = Idle(blocks=600)
        executor.start(stage)
        assert executor.capacity(stage) == 4
        run_all(executor, stage, [0, 1, 2, 3])
        before = executor._serial
        assert executor.capacity(stage) > 100
        run_all(executor, stage, list(range(4, 600)))
        assert executor._serial - before < 20


def test_a_slow_block_does_not_hold_back_its_batch(dask_client, store, monkeypatch):
    """Blocks of a batch that have not begun when its time is over come back to be sent again."""
    monkeypatch.setattr(batching.Batching, "size", lambda self: 8)
    with OnDask(dask_client, store.url) as executor:
        stage = Idle(blocks=8, seconds=0.3)
        executor.start(stage)
        executor._lanes["idle"].batching.window = lambda slots: 1  # type: ignore[method-assign]
        run_all(executor, stage, list(range(8)))
        assert executor._serial >= 4


def test_futures_are_named_for_stage_and_block(dask_client, store):
    """The dashboard groups them by the stage's name."""
    from distributed.utils import key_split

    with OnDask(dask_client, store.url) as executor:
        for name in ("idle", "segment/0.5"):
            stage = Idle(blocks=3, seconds=0.2)
            executor.start(stage)
            executor.submit(stage, [2], 1)
            (future,) = executor._arrivals._out.values()
            assert future.key.startswith("idle-2-")
            assert key_split(future.key) == "idle"
            assert key_split(f"{name}-2-abcdef12-3") == name


def test_a_task_shows_no_password():
    """Dask logs the arguments of tasks that fail."""
    assert "secret" not in repr(pack_stage(Idle(blocks=1), "mongodb://anna:secret@host/db", "t", None))


def test_a_block_that_kills_its_worker_is_found_out(dask_client, store, tmp_path):
    """It comes back as failed, after a second death at which it was alone; no other block is blamed."""
    folder = plan(tmp_path / "plan", {17: [DIE_BEFORE_WRITE] * ALWAYS})
    with OnDask(dask_client, store.url) as executor:
        stage = Idle(blocks=60, faults=folder)
        executor.start(stage)
        found = run_all(executor, stage, list(range(60)))
    assert [key for key, one in found.items() if not one.ok] == [17]
    assert "died" in found[17].error
    assert attempts(folder)[17] == 2


def test_a_worker_lost_once_costs_no_attempt(dask_client, store, tmp_path):
    """Its blocks are run again and all end well."""
    folder = plan(tmp_path / "plan", {5: [DIE_BEFORE_WRITE]})
    with OnDask(dask_client, store.url) as executor:
        stage = Idle(blocks=30, faults=folder)
        executor.start(stage)
        assert all(one.ok for one in run_all(executor, stage, list(range(30))).values())
    assert attempts(folder)[5] == 2


def test_a_stage_that_workers_cannot_load_fails_its_blocks(dask_client, store):
    """Not a block waits for ever when the stage's code is unknown to the workers."""
    with OnDask(dask_client, store.url) as executor:
        stage = Idle(blocks=2)
        executor.start(stage)
        executor._lanes["idle"].packed = PackedStage(b"no pickle", store.url, "t")
        found = run_all(executor, stage, [0, 1])
    assert not any(one.ok for one in found.values())
    assert all("UnpicklingError" in one.error for one in found.values())


@pytest.mark.parametrize("names", [("_STATUS", "_RESET"), ("_STATUS",), ("_RESET",)])
def test_memory_is_measured_where_the_system_does_not_tell(monkeypatch, tmp_path, names):
    """Without /proc the peak of the whole process is taken."""
    for name in names:
        monkeypatch.setattr(work, name, tmp_path / "proc" / "status")
    work._memory_files.cache_clear()
    try:
        work.reset_peak_rss()
        assert work.peak_rss_bytes() > 1e6
        assert work._memory_files(os.getpid()) is None
    finally:
        work._memory_files.cache_clear()


@pytest.mark.skipif(not work._RESET.exists(), reason="this system resets no peak")
def test_the_peak_of_a_block_is_its_own():
    """What the block before it took, and gave back, does not count.

    It is mapped, not allocated: the C library may serve an array from a hole in its heap, which it keeps.
    """
    work.reset_peak_rss()
    before = work.peak_rss_bytes()
    with mmap.mmap(-1, 200_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
        for page in range(0, len(mapped), mmap.PAGESIZE):
            mapped[page] = 1
    assert work.peak_rss_bytes() > before + 150_000_000
    work.reset_peak_rss()
    assert work.peak_rss_bytes() < before + 100_000_000


def test_a_block_that_hangs_is_found_out(dask_client, store, tmp_path):
    """Its worker ends at the deadline; it comes back as failed with the reason, and no other block is blamed."""
    folder = plan(tmp_path / "plan", {7: [HANG] * ALWAYS})
    with OnDask(dask_client, store.url, deadline_s=0.5) as executor:
        stage = Idle(blocks=20, faults=folder)
        executor.start(stage)
        found = run_all(executor, stage, list(range(20)))
    assert [key for key, one in found.items() if not one.ok] == [7]
    assert "did not end within" in found[7].error
    assert attempts(folder)[7] == 2


def test_the_only_block_of_a_stage_has_no_deadline(dask_client, store):
    """It may take hours, and there is no other block to compare it with."""
    with OnDask(dask_client, store.url, deadline_s=0.1) as executor:
        stage = Idle(blocks=1, seconds=0.5)
        executor.start(stage)
        assert run_all(executor, stage, [0])[0].ok


def test_one_block_a_task_fills_a_bounded_window(dask_client, store):
    """With many tasks alive, as their cost is Dask's, but never more than a few thousand."""
    with OnDask(dask_client, store.url, batch_limit=1) as executor:
        stage = Idle(blocks=3000)
        executor.start(stage)
        executor._lanes["idle"].batching.learn(1e-5)
        executor.submit(stage, list(range(3000)), 1)
        assert 100 < len(executor._out) <= WINDOW
        assert all(len(sent.batch.keys) == 1 for sent in executor._out.values())
