"""A run ends with the same volume whatever happens on the way, and does nothing twice that is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise import cluster
from blockwise.cluster import Cluster, open_cluster
from blockwise.errors import BadInput, Stale, WorkFailed
from blockwise.executor import Executor, InProcess, OnDask
from blockwise.run import StageResult, run_stages
from blockwise.stage import Grid, Stage
from blockwise.store import Store, open_store
from blockwise.volume import Volume, open_array
from tests.faults.planned import ALWAYS, DIE_AFTER_WRITE, DIE_BEFORE_WRITE, INTERRUPT, RAISE, attempts, plan
from tests.paths import ROOT
from tests.servers import free_port, wait_for_port
from tests.toys import Count, Idle, Smear, source_volume

BLOCKS = 2 * 3 * 3


@pytest.fixture
def source(tmp_path: Path) -> Volume:
    """Random numbers, (8, 9, 10)."""
    return source_volume(tmp_path / "in.zarr" / "raw")


def smear(source: Volume, **changes: Any) -> Smear:
    """The stage of most tests here; it writes beside its source."""
    target = source.path.parent.parent / "out.zarr" / "smeared"
    return Smear(**{"source": source, "target": Volume(path=target), **changes})


def line(source: Volume, **changes: Any) -> list[Stage]:
    """Two stages, the second reads what the first writes."""
    first = smear(source, **changes)
    return [first, Count(source=first.target, shape=(8, 9, 10), limit=20)]


def voxels(volume: Volume) -> np.ndarray:
    """The whole array."""
    return np.asarray(open_array(volume)[:])


def expected(source: Volume, factor: int = 1) -> np.ndarray:
    """What `Smear` makes of the whole volume at once."""
    data = voxels(source).astype(np.uint32) * factor
    data[..., :-1] += data[..., 1:]
    return data


def one(results: Sequence[StageResult]) -> StageResult:
    """The only result."""
    (result,) = results
    return result


def key_of(stage: Stage, place: int) -> int:
    """The key of the n-th block."""
    return int(stage.grid().keys().ravel()[place])


def test_a_line_of_stages_makes_its_volume(source, store, executor):
    """All blocks of all stages are done once, and the result is that of the whole volume at once."""
    first, second = run_stages(line(source), store, executor)
    assert np.array_equal(voxels(smear(source).target), expected(source))
    assert (first.blocks_done, first.blocks_skipped, first.blocks_failed) == (BLOCKS, 0, 0)
    assert first.voxels == second.voxels == 8 * 9 * 10
    assert first.context_inflation == 5 / 4
    total = store.table("total", 0)
    assert total is not None
    assert total[0] == (expected(source) > 20).sum()
    assert first.cpu_seconds > 0
    assert first.wall_seconds > 0


def test_a_finished_line_does_nothing(source, store, executor):
    """A second run skips every block, and neither prepares nor finishes."""
    run_stages(line(source), store, executor)
    store.put_table("total", Grid("count", (8, 9, 10), (4, 4, 4)).block_at(0), np.array([-1]))
    results = run_stages(line(source), store, executor)
    assert [(result.blocks_done, result.blocks_skipped) for result in results] == [(0, BLOCKS)] * 2
    assert results[0].voxels == 8 * 9 * 10
    total = store.table("total", 0)
    assert total is not None
    assert total[0] == -1


def test_progress_is_told(source, store, executor):
    """From 0 to all blocks of each stage, never backwards."""
    seen: list[tuple[str, int, int]] = []
    run_stages(line(source), store, executor, progress=lambda name, done, total, note="": seen.append(
        (name, done, total)))
    assert seen[0] == ("smear", 0, BLOCKS)
    assert seen[-1] == ("count", BLOCKS, BLOCKS)
    assert seen == sorted(seen, key=lambda row: (row[0] != "smear", row[1]))


def test_a_block_that_fails_twice_is_done_at_last(source, store, executor, tmp_path):
    """Three attempts for it, one for the others, and the same volume."""
    faults = plan(tmp_path / "plan", {key_of(smear(source), 7): [RAISE, RAISE]})
    result = one(run_stages([smear(source, faults=faults)], store, executor))
    counted = attempts(faults)
    assert counted.pop(key_of(smear(source), 7)) == 3
    assert set(counted.values()) == {1}
    assert np.array_equal(voxels(smear(source).target), expected(source))
    assert (result.blocks_done, result.blocks_failed) == (BLOCKS, 0)
    assert store.failures("smear") == []


def test_a_poisonous_block_is_given_up_and_named(source, store, executor, tmp_path):
    """The others are done, later stages do not run, and the error says which block and why."""
    bad = key_of(smear(source), 4)
    faults = plan(tmp_path / "plan", {bad: [RAISE] * ALWAYS})
    results: list[StageResult] = []
    with pytest.raises(WorkFailed, match=r"1 blocks failed.*\(0, 1, 1\).*PlannedError") as caught:
        run_stages(line(source, faults=faults), store, executor, on_result=results.append)
    assert "toys.py" in caught.value.__notes__[0]
    assert (one(results).blocks_done, one(results).blocks_failed) == (BLOCKS - 1, 1)
    assert attempts(faults)[bad] == 3
    assert [failure.key for failure in store.failures("smear")] == [bad]
    assert store.totals("count").done == 0


def test_a_block_given_up_is_tried_again_only_when_asked(source, store, executor, tmp_path):
    """Without `redo_failed` the run fails at once; with it the block is done and the line goes on."""
    bad = key_of(smear(source), 4)
    faults = plan(tmp_path / "plan", {bad: [RAISE] * 3})
    for _ in range(2):
        with pytest.raises(WorkFailed, match="--redo-failed"):
            run_stages(line(source, faults=faults), store, executor)
        assert attempts(faults)[bad] == 3
    results = run_stages(line(source, faults=faults), store, executor, redo_failed=True)
    assert [result.blocks_done for result in results] == [1, BLOCKS]
    assert np.array_equal(voxels(smear(source).target), expected(source))


def test_broken_code_ends_the_run_at_once(source, store, executor, tmp_path):
    """If the first blocks all fail alike, the others are not tried, and the traceback is there."""
    keys = [int(key) for key in Idle(blocks=500).grid().keys().ravel()]
    faults = plan(tmp_path / "plan", {key: [RAISE] * ALWAYS for key in keys})
    with pytest.raises(WorkFailed, match=r"blocks all failed with .*PlannedError") as caught:
        run_stages([Idle(blocks=500, faults=faults, seconds=0.01)], store, executor)
    assert "toys.py" in caught.value.__notes__[0]
    assert sum(attempts(faults).values()) < 300
    assert store.totals("idle").done == 0


def test_changed_settings_make_blocks_stale(source, store, executor):
    """The run stops before anything is written, and says what changed; with --redo it makes all anew."""
    run_stages(line(source), store, executor)
    before = voxels(smear(source).target)
    with pytest.raises(Stale, match=r"smear\.factor was 1, is now 2.*--redo smear"):
        run_stages(line(source, factor=2), store, executor)
    assert np.array_equal(voxels(smear(source).target), before)
    results = run_stages(line(source, factor=2), store, executor, redo="smear")
    assert [result.blocks_done for result in results] == [BLOCKS, BLOCKS]
    assert np.array_equal(voxels(smear(source).target), expected(source, 2))


def test_half_a_stage_with_other_settings_is_stale_too(source, store, tmp_path):
    """Blocks of an interrupted run are not mixed with those of other settings."""
    faults = plan(tmp_path / "plan", {key_of(smear(source), 9): [INTERRUPT]})
    with InProcess(store) as executor:
        with pytest.raises(KeyboardInterrupt):
            run_stages([smear(source, faults=faults)], store, executor)
        assert 0 < store.totals("smear").done < BLOCKS
        with pytest.raises(Stale):
            run_stages([smear(source, factor=3)], store, executor)


def test_redo_of_a_later_stage_leaves_the_earlier(source, store, executor):
    """Only the stage and what follows is made anew."""
    run_stages(line(source), store, executor)
    results = run_stages(line(source), store, executor, redo="count")
    assert [result.blocks_done for result in results] == [0, BLOCKS]


def test_redo_of_an_earlier_stage_forgets_what_was_made_from_it(source, store, executor):
    """Also if the later stages are not part of this run."""
    run_stages(line(source), store, executor)
    run_stages(line(source)[:1], store, executor, redo="smear")
    assert store.totals("count").done == 0


def test_changed_code_makes_blocks_stale(source, store, executor, monkeypatch):
    """A stage with another version asks to be redone."""
    run_stages([smear(source)], store, executor)
    monkeypatch.setattr(Smear, "version", 2)
    with pytest.raises(Stale, match="code version was 1, is now 2"):
        run_stages([smear(source)], store, executor)


def test_changed_input_makes_blocks_stale(source, store, executor):
    """An input whose metadata was written again is another input."""
    run_stages([smear(source)], store, executor)
    open_array(source, "r+").attrs["note"] = "another"
    with pytest.raises(Stale, match=r"input 0 \(raw\) changed"):
        run_stages([smear(source)], store, executor)


def test_a_later_part_of_the_line_goes_on_from_the_earlier(source, store, executor):
    """`before` is checked, not run; without it the store's word is taken."""
    stages = line(source)
    with pytest.raises(BadInput, match="smear: is not finished"):
        run_stages(stages[1:], store, executor, before=stages[:1])
    run_stages(stages[:1], store, executor)
    assert one(run_stages(stages[1:], store, executor, before=stages[:1])).blocks_done == BLOCKS
    assert one(run_stages(stages[1:], store, executor)).blocks_skipped == BLOCKS
    assert [result.blocks_skipped for result in run_stages(stages, store, executor)] == [BLOCKS, BLOCKS]
    with pytest.raises(Stale, match="smear"):
        run_stages(stages[1:], store, executor, before=[smear(source, factor=2)])


def test_a_lost_output_is_noticed(source, store, executor):
    """Blocks marked as done whose array is gone would be silent holes."""
    run_stages([smear(source)], store, executor)
    target = smear(source).target.path
    target.rename(target.with_name("elsewhere"))
    with pytest.raises(BadInput, match="is gone, but 18 blocks of smear are marked as done"):
        run_stages([smear(source)], store, executor)
    assert one(run_stages([smear(source)], store, executor, redo="smear")).blocks_done == BLOCKS


@pytest.mark.parametrize("redo", ["nosuch", "predict"])
def test_an_unknown_stage_to_redo_is_refused(source, store, executor, redo):
    """In one line, and nothing is written."""
    with pytest.raises(BadInput, match="no such stage"):
        run_stages(line(source), store, executor, redo=redo)
    assert store.stages() == []


def test_interrupting_keeps_what_is_done(source, store, tmp_path):
    """After Ctrl-C the finished blocks are marked, and the next run does just the others."""
    faults = plan(tmp_path / "plan", {key_of(smear(source), 9): [INTERRUPT]})
    stage = smear(source, faults=faults)
    results: list[StageResult] = []
    with InProcess(store) as executor:
        with pytest.raises(KeyboardInterrupt):
            run_stages([stage], store, executor, on_result=results.append)
        done = one(results).blocks_done
        assert done == store.totals("smear").done == 9
        assert one(run_stages([stage], store, executor)).blocks_done == BLOCKS - done
    counted = attempts(faults)
    assert counted.pop(key_of(stage, 9)) == 2
    assert set(counted.values()) == {1}
    assert np.array_equal(voxels(stage.target), expected(source))


@pytest.mark.parametrize("how", [DIE_BEFORE_WRITE, DIE_AFTER_WRITE])
def test_a_killed_worker_changes_nothing(source, store, dask_client, tmp_path, how):
    """The volume and the tables are those of an undisturbed run."""
    faults = plan(tmp_path / "plan", {key_of(smear(source), 3): [how], key_of(smear(source), 11): [how]})
    with OnDask(dask_client, store.url) as executor:
        result = one(run_stages([smear(source, faults=faults)], store, executor))
    assert result.blocks_done == BLOCKS
    assert attempts(faults)[key_of(smear(source), 3)] >= 2
    assert np.array_equal(voxels(smear(source).target), expected(source))
    assert len(list(store.tables("sums"))) == BLOCKS


def test_a_block_that_kills_every_worker_is_given_up(source, store, dask_client, tmp_path):
    """It is the only one that failed; all others are done."""
    bad = key_of(smear(source), 5)
    faults = plan(tmp_path / "plan", {bad: [DIE_BEFORE_WRITE] * ALWAYS})
    with OnDask(dask_client, store.url) as executor, pytest.raises(WorkFailed, match=r"1 blocks failed"):
        run_stages([smear(source, faults=faults)], store, executor, max_attempts=2)
    assert store.totals("smear").done == BLOCKS - 1
    assert attempts(faults)[bad] == 3


def test_a_dead_pool_ends_the_run(store):
    """Without a worker for the time allowed the run stops, and what is done is kept."""
    with open_cluster(Cluster(workers=1, dashboard=False)) as client, OnDask(client, store.url) as executor:
        stage = Idle(blocks=100, seconds=0.1)
        told: list[int] = []

        def progress(name: str, done: int, total: int, note: str = "") -> None:
            if done and max(told, default=0) == 0:
                client.cluster.scale(0)
            told.append(done)

        with pytest.raises(WorkFailed, match="no worker is alive"):
            run_stages([stage], store, executor, progress=progress, patience_s=2)
        assert store.totals("idle").done == told[-1] > 0


def test_a_dead_scheduler_ends_the_run(store, tmp_path, monkeypatch):
    """A cluster that was joined and vanishes ends the run in one line, and what is done is kept."""
    monkeypatch.setattr(cluster, "_JOIN_S", 2)
    address = f"tcp://127.0.0.1:{free_port()}"
    command = [str(Path(sys.executable).with_name("dask"))]
    place = ["--host", "127.0.0.1"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    quiet["env"] = {**os.environ, "PYTHONPATH": str(ROOT)}
    scheduler = subprocess.Popen([*command, "scheduler", *place, "--port", address.split(":")[-1]], **quiet)
    wait_for_port(int(address.split(":")[-1]), scheduler)
    workers = subprocess.Popen([*command, "worker", address, *place, "--death-timeout", "2"], **quiet)

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if done:
            scheduler.kill()

    try:
        with open_cluster(Cluster(address=address)) as client, OnDask(client, store.url) as executor:
            stage = Idle(blocks=1000, seconds=0.1)
            with pytest.raises(WorkFailed, match="no worker is alive"):
                run_stages([stage], store, executor, progress=progress, patience_s=2)
        assert 0 < store.totals("idle").done < 1000
    finally:
        scheduler.kill()
        workers.kill()
        scheduler.wait()
        workers.wait()


DRIVER = """
import sys
from pathlib import Path
from blockwise import cluster
from blockwise.cluster import Cluster, open_cluster
from blockwise.executor import OnDask
from blockwise.run import run_stages
from blockwise.store import open_store
from tests.toys import Idle
if __name__ == "__main__":
    store = open_store(sys.argv[1])
    with open_cluster(Cluster(dashboard=False)) as client, OnDask(client, store.url) as executor:
        stage = Idle(blocks=400, seconds=0.05, faults=Path(sys.argv[2]))
        run_stages([stage], store, executor, progress=lambda name, done, *_: print(done, flush=True))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_driver_that_is_stopped_is_taken_up_again(store, tmp_path, how):
    """Ctrl-C or death of the whole run: no finished block is lost that was told, and the next run ends it."""
    folder = plan(tmp_path / "plan", {})
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, store.url, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT,
    )
    assert process.stdout is not None
    told = 0
    while told < 60:
        told = int(process.stdout.readline())
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    told = max([told, *map(int, out.split())])
    assert store.totals("idle").done >= told
    if how == signal.SIGINT:
        assert "KeyboardInterrupt" in err
    with InProcess(store) as executor:
        result = one(run_stages([Idle(blocks=400, faults=folder)], store, executor))
    assert result.blocks_skipped + result.blocks_done == 400
    assert result.blocks_skipped >= told


def test_a_store_can_be_a_server(source, tmp_path, new_executor):
    """The same line with MongoDB's protocol instead of a file."""
    from tests.servers import fresh_database, mongo_server

    with mongo_server(tmp_path / "server") as address:
        store = open_store(fresh_database(address))
        run_with(store, new_executor, source)
        store.close()


def run_with(store: Store, new_executor: Callable[[Store], Executor], source: Volume) -> None:
    """Run, and run again."""
    with new_executor(store) as executor:
        run_stages(line(source), store, executor)
        assert [result.blocks_skipped for result in run_stages(line(source), store, executor)] == [BLOCKS] * 2
    assert np.array_equal(voxels(smear(source).target), expected(source))
