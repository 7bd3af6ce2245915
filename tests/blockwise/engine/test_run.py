"""A run ends with the same volume, names what it cannot do, and does nothing twice that is done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from blockwise.engine.options import RunOptions, StageResult
from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import Executor
from blockwise.store import Store, open_store
from tests.faults.planned import ALWAYS, RAISE, attempts, plan
from tests.support.lines import BLOCKS, expected, key_of, line, one, smear, voxels
from tests.support.toys import TOTAL, Idle


def test_a_line_of_stages_makes_its_volume(source, store, executor):
    """All blocks of all stages are done once, and the result is that of the whole volume at once."""
    first, second = run_stages(line(source), store, executor)
    assert np.array_equal(voxels(smear(source).target), expected(source))
    assert (first.blocks_done, first.blocks_skipped, first.blocks_failed) == (BLOCKS, 0, 0)
    assert first.voxels == second.voxels == 8 * 9 * 10
    assert first.context_inflation == 5 / 4
    total = store.get(TOTAL, 0)
    assert total is not None
    assert total[0] == (expected(source) > 20).sum()
    assert first.cpu_seconds > 0
    assert first.wall_seconds > 0


def test_a_finished_line_does_nothing(source, store, executor):
    """A second run skips every block, and neither prepares nor finishes."""
    run_stages(line(source), store, executor)
    store.put(TOTAL, 0, np.array([-1]))
    results = run_stages(line(source), store, executor)
    assert [(result.blocks_done, result.blocks_skipped) for result in results] == [(0, BLOCKS)] * 2
    assert results[0].voxels == 8 * 9 * 10
    total = store.get(TOTAL, 0)
    assert total is not None
    assert total[0] == -1


def test_progress_is_told(source, store, executor):
    """From 0 to all blocks of each stage, never backwards."""
    seen: list[tuple[str, int, int]] = []
    run_stages(
        line(source),
        store,
        executor,
        RunOptions(progress=lambda name, done, total, note="": seen.append((name, done, total))),
    )
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
        run_stages(line(source, faults=faults), store, executor, RunOptions(on_result=results.append))
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
    results = run_stages(line(source, faults=faults), store, executor, RunOptions(redo_failed=True))
    assert [result.blocks_done for result in results] == [1, BLOCKS]
    assert np.array_equal(voxels(smear(source).target), expected(source))


def test_a_block_that_is_forgiven_meanwhile_is_tried_again(source, store, executor, tmp_path):
    """Whoever takes back its failure while other blocks run has it done in the same run, and the line goes on."""
    bad = key_of(smear(source), 4)
    faults = plan(tmp_path / "plan", {bad: [RAISE] * 3})
    other = open_store(store.url)

    def forgive(name, done, total, note=""):
        if name == "smear" and any(one.attempt == 3 for one in other.failures("smear")):
            other.forgive("smear", [bad])

    results = run_stages(line(source, faults=faults), store, executor, RunOptions(progress=forgive))
    other.close()
    assert attempts(faults)[bad] == 4
    assert [(result.blocks_done, result.blocks_failed) for result in results] == [(BLOCKS, 0)] * 2
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


def test_a_store_can_be_a_server(source, tmp_path, new_executor):
    """The same line with MongoDB's protocol instead of a file."""
    from tests.support.servers import fresh_database, mongo_server

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
