"""Stages in a chain run block by block, and the result is that of one stage after the other."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from blockwise.arrays.volume import Volume, info, open_array
from blockwise.engine.options import RunOptions
from blockwise.engine.preflight import examine
from blockwise.engine.run import chains, run_stages
from blockwise.engine.schedule import Schedule, reach
from blockwise.errors import WorkFailed
from blockwise.executor import InProcess, OnDask
from blockwise.grid import Grid, unpack
from blockwise.stage import Stage
from blockwise.store import open_store
from tests.faults.planned import ALWAYS, DIE_AFTER_WRITE, DIE_BEFORE_WRITE, RAISE, attempts, plan
from tests.support import volumes
from tests.support.paths import ROOT
from tests.support.toys import Blur, Idle, Smear, source_volume

SHAPE = (8, 9, 10)
BLOCKS = 2 * 3 * 3


def line(source: Volume, **changes: Any) -> list[Stage]:
    """Two stages: the second reads a voxel around each of its blocks of what the first writes."""
    folder = source.path.parent.parent / "out.zarr"
    first = Smear(source=source, target=Volume(path=folder / "smeared"), **changes)
    return [first, Blur(source=first.target, target=Volume(path=folder / "blurred"), shape=info(source).spatial)]


def expected(source: Volume) -> np.ndarray:
    """What both stages make of the whole volume at once."""
    data = np.asarray(open_array(source)[:]).astype(np.uint32)
    data[..., :-1] += data[..., 1:]
    padded = np.pad(data, 1)
    parts = [np.roll(padded, step, axis) for axis in range(3) for step in (-1, 1)]
    return np.sum([padded, *parts], axis=0, dtype=np.uint32)[1:-1, 1:-1, 1:-1]


def blurred(stages: Sequence[Stage]) -> np.ndarray:
    """What the last stage wrote."""
    return np.asarray(open_array(stages[-1].outputs()[0])[:])


def test_a_chain_makes_the_same_volume(source, store, executor):
    """Every block of both stages is done once, and a second run does nothing."""
    stages = line(source)
    assert [one.blocks_done for one in run_stages(stages, store, executor, RunOptions(chain=True))] == [BLOCKS, BLOCKS]
    assert np.array_equal(blurred(stages), expected(source))
    assert [one.blocks_done for one in run_stages(stages, store, executor, RunOptions(chain=False))] == [0, 0]
    assert all(info.finished for info in store.stages())


def test_the_second_stage_begins_before_the_first_ends(tmp_path, store):
    """Blocks of it are done while others of the first are not."""
    seen: list[tuple[str, int]] = []
    stages = line(source_volume(tmp_path / "in.zarr" / "long", (80, 4, 4)))
    with InProcess(store) as executor:
        run_stages(
            stages, store, executor, RunOptions(chain=True, progress=lambda name, done, *_: seen.append((name, done)))
        )
    second = next(place for place, (name, done) in enumerate(seen) if name == "blur" and done)
    assert max(done for name, done in seen[:second] if name == "smear") < 20


def test_a_block_waits_for_all_that_it_reads():
    """Whatever the order of the first stage's blocks: never before its neighbours, and none is forgotten."""
    random = np.random.default_rng(2)
    for context in ((0, 0, 0), (1, 0, 3), (5, 1, 0)):
        for volume in (SHAPE, (4, 4, 30), (20, 3, 9)):
            grids = [Grid("a", volume, (4, 4, 4)), Grid("b", volume, (4, 4, 4), context_low=context)]
            done = random.random(grids[0].counts) < 0.3
            begun = drain(grids, [done.copy(), done & (random.random(done.shape) < 0.3)], random)
            assert begun == int((~done).sum())


def drain(grids: Sequence[Grid], skip: Sequence[np.ndarray], random: np.random.Generator) -> int:
    """Run both stages in a random order; asserts that nothing is read before it is there."""
    done, out, begun = skip[0].copy(), [], 0
    around = reach(grids[1])
    with Schedule(grids, skip) as schedule:
        while not schedule.is_finished:
            for place in (1, 0):
                while (key := schedule.next_block(place)) is not None:
                    out.append((place, key))
                    box = tuple(slice(max(0, i - r), i + r + 1) for i, r in zip(unpack(key), around, strict=True))
                    assert place == 0 or done[box].all()
            place, key = out.pop(random.integers(len(out)))
            schedule.release(key, True, place)
            if place == 0:
                begun += 1
                done[unpack(key)] = True
        assert [state.left for state in schedule.stages] == [0, 0]
    return begun


def test_what_hangs_on_a_lost_block_does_not_run(source, store, executor, tmp_path):
    """The block is named, all others are done, and with redo_failed the volume is as it should be."""
    stages = line(source)
    bad = int(stages[0].grid().keys().ravel()[0])
    faults = plan(tmp_path / "plan", {bad: [RAISE] * 3})
    stages = line(source, faults=faults)
    for _ in range(2):
        with pytest.raises(WorkFailed, match=r"smear: 1 blocks failed.*\(0, 0, 0\)"):
            run_stages(stages, store, executor, RunOptions(chain=True))
        assert store.totals("smear").done == BLOCKS - 1
        assert 0 < store.totals("blur").done <= BLOCKS - 8
    results = run_stages(stages, store, executor, RunOptions(chain=True, redo_failed=True))
    assert results[0].blocks_done == 1
    assert np.array_equal(blurred(stages), expected(source))


@pytest.mark.parametrize("how", [DIE_BEFORE_WRITE, DIE_AFTER_WRITE])
def test_a_killed_worker_changes_nothing_in_a_chain(source, store, dask_client, tmp_path, how):
    """The volume is that of an undisturbed run."""
    keys = [int(key) for key in line(source)[0].grid().keys().ravel()]
    stages = line(source, faults=plan(tmp_path / "plan", {keys[3]: [how], keys[11]: [how]}))
    with OnDask(dask_client, store.url) as executor:
        run_stages(stages, store, executor, RunOptions(chain=True))
    assert np.array_equal(blurred(stages), expected(source))


DRIVER = """
import os, signal, sys
from pathlib import Path
from blockwise.executor import InProcess
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.store import open_store
from blockwise.arrays.volume import Volume
from tests.blockwise.engine.test_chain import line
store = open_store(sys.argv[1])
def progress(name, done, *_):
    if name == "blur" and done:
        os.kill(os.getpid(), signal.SIGKILL)
with InProcess(store) as executor:
    run_stages(line(Volume(path=Path(sys.argv[2]))), store, executor, RunOptions(chain=True, progress=progress))
"""


@pytest.mark.parametrize("chain", [True, False])
def test_a_killed_chain_is_taken_up_again(source, store, executor, chain):
    """With both stages done in part; in a chain or not, no block is done twice and the volume is the same."""
    dead = subprocess.run([sys.executable, "-c", DRIVER, store.url, str(source.path)], cwd=ROOT, check=False)
    assert dead.returncode == -signal.SIGKILL
    before = [store.totals(name).done for name in ("smear", "blur")]
    assert 0 < before[1] < BLOCKS
    stages = line(source)
    results = run_stages(stages, store, executor, RunOptions(chain=chain))
    assert [one.blocks_skipped for one in results] == before
    assert [one.blocks_done for one in results] == [BLOCKS - done for done in before]
    assert np.array_equal(blurred(stages), expected(source))


def test_stages_are_chained_where_that_keeps_more_workers_busy(source, tmp_path):
    """Asked for, or because one needs a GPU; never with a stage that needs all of the one before."""
    store = open_store(f"sqlite:///{tmp_path}/other.db")
    with InProcess(store) as executor:
        plain = examine(line(source), store, executor, RunOptions()).jobs
        mixed = examine([*line(source, gpus=1), Idle(blocks=3)], store, executor, RunOptions()).jobs
    assert [len(group) for group in chains(plain)] == [1, 1]
    assert [len(group) for group in chains(plain, True)] == [2]
    assert [len(group) for group in chains(mixed)] == [2, 1]
    assert [len(group) for group in chains(mixed, False)] == [1, 1, 1]


def test_a_block_given_up_always_fails_names_its_stage(source, store, executor, tmp_path):
    """Also if every block of the first stage fails: the run ends at once, and the second never begins."""
    keys = [int(key) for key in line(source)[0].grid().keys().ravel()]
    faults = plan(tmp_path / "plan", {key: [RAISE] * ALWAYS for key in keys})
    with pytest.raises(WorkFailed, match="smear: the first"):
        run_stages(line(source, faults=faults), store, executor, RunOptions(chain=True))
    assert sum(attempts(faults).values()) <= 3 * BLOCKS
    assert store.totals("blur").done == 0


def test_fragments_and_edges_in_a_chain_give_the_same_bytes(tmp_path):
    """The real stages, for two block shapes: edges begin before fragments end, and fragments and segments agree."""
    affinities = volumes.store_volume(tmp_path / "a.zarr" / "affinities", volumes.cells((96, 16, 16))[0])
    found = set()
    for chain, block in ((False, (96, 16, 16)), (True, (8, 16, 16)), (True, (10, 9, 16))):
        output = tmp_path / f"{block}.zarr"
        stages = volumes.line(output, affinities, block)
        seen: list[tuple[str, int]] = []
        with InProcess(f"sqlite:///{output}.db") as executor:
            store = open_store(f"sqlite:///{output}.db")
            run_stages(
                stages, store, executor, RunOptions(chain=chain, progress=lambda *row, seen=seen: seen.append(row[:2]))
            )
            store.close()
        if chain:
            begun = next(place for place, (name, done) in enumerate(seen) if name == "edges" and done)
            assert max(done for name, done in seen[:begun] if name == "fragments") < stages[0].grid().count
        found.add(tuple(volumes.digest(Volume(path=output / name)) for name in ("fragments", "segments/0.5")))
    assert len(found) == 1
