"""A graph larger than memory is solved in boxes on workers, and neither cuts nor crashes change a byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import Executor, InProcess, OnDask
from blockwise.grid import Voxels
from blockwise.kernels.graph.agglomeration import Dendrogram
from blockwise.kernels.graph.rules import MergeRules
from blockwise.stage import Stage
from blockwise.stages.agglomerate import boxes, shelf
from blockwise.stages.agglomerate.stage import Agglomerate, read_dendrogram
from blockwise.stages.tables import (
    ASKED,
    CUT,
    EDGES,
    JOINS,
    SOLVED_BOXES,
    merges_of,
    named_of,
    rest_of,
    shared_of,
    united_of,
)
from blockwise.store import Store, open_store
from tests.faults.planned import ALWAYS, DIE_AFTER_WRITE, DIE_BEFORE_WRITE, RAISE, attempts, plan
from tests.support.struck import Mortal
from tests.support.volumes import digest, line, store_tied

SHAPE: Voxels = (26, 33, 40)
BLOCK: Voxels = (9, 11, 14)
NAMES = ("fragment", "parent", "score")


class MortalMerging(Mortal, Agglomerate):
    """Merging whose substages die as planned."""


@pytest.fixture(scope="module")
def affinities(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """Cells with affinities of nine levels, so that edges tie."""
    return store_tied(tmp_path_factory.mktemp("volume") / "affinities", SHAPE)


@pytest.fixture(scope="module")
def whole(affinities: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one block and one graph."""
    output = tmp_path_factory.mktemp("whole") / "out.zarr"
    store = open_store(f"sqlite:///{output.with_suffix('.db')}")
    run(stages(output, affinities, SHAPE), store, InProcess(store))
    store.close()
    return output


def stages(output: Path, affinities: Volume, block: Voxels = BLOCK, faults: Path | None = None, **merging: str) -> Any:
    """The line up to segment."""
    found = line(output, affinities, block, stop=0.05, merging=merging, cap=None)[:4]
    if faults is not None:
        found[2] = MortalMerging(faults=faults, **dict(found[2]))
    return found


def run(some: list[Stage], store: Store, executor: Executor, **how: Any) -> None:
    with executor:
        run_stages(some, store, executor, RunOptions(**how))


def tree(output: Path) -> Dendrogram:
    return read_dendrogram(Volume(path=output / "agglomeration"))


def check(output: Path, whole: Path) -> None:
    """Same dendrogram, same fragments, same segments."""
    assert all(np.array_equal(getattr(tree(output), name), getattr(tree(whole), name)) for name in NAMES)
    for name in ("fragments", "segments/0.5"):
        assert digest(Volume(path=output / name)) == digest(Volume(path=whole / name))


@pytest.mark.parametrize("memory", ["200kB", "60kB"])
def test_boxes_on_workers_change_nothing(
    memory: str,
    affinities: Volume,
    whole: Path,
    store: Store,
    new_executor: Callable[[Store], Executor],
    tmp_path: Path,
) -> None:
    """Few or many boxes, in this process or on two workers, give the bytes of the whole graph."""
    run(stages(tmp_path / "out.zarr", affinities, memory=memory), store, new_executor(store))
    check(tmp_path / "out.zarr", whole)
    assert store.totals("agglomerate/leaves").done > 1
    assert store.totals("agglomerate/1").done >= 1
    assert store.totals("agglomerate/united/1").done >= 1
    told = (ASKED, shared_of(0), united_of(0), named_of(0), merges_of(0), *rest_of(0), CUT, SOLVED_BOXES)
    assert not [table.kind for table in told if list(store.each(table))]


def test_workers_that_die_in_boxes_change_nothing(
    affinities: Volume, whole: Path, store: Store, dask_client: Any, tmp_path: Path
) -> None:
    """Workers die with a leaf and with boxes above, before or after they have written; others solve them anew."""
    faults = tmp_path / "faults"
    deaths = {"united 1": DIE_AFTER_WRITE, "named 1": DIE_AFTER_WRITE, "leaves": DIE_AFTER_WRITE, "1": DIE_BEFORE_WRITE}
    for substage, how in deaths.items():
        plan(faults / f"agglomerate {substage}", {0: [how]})
    run(stages(tmp_path / "out.zarr", affinities, faults=faults, memory="60kB"), store, OnDask(dask_client, store.url))
    check(tmp_path / "out.zarr", whole)
    assert all(attempts(folder)[0] >= 2 for folder in faults.iterdir() if (folder / "0.plan").exists())


def test_a_box_that_always_fails_is_given_up_and_named(
    affinities: Volume, whole: Path, store: Store, tmp_path: Path
) -> None:
    """The run says which; the next one with `redo_failed` solves that box and none of those marked."""
    faults = plan(tmp_path / "faults" / "agglomerate leaves", {1 << 42: [RAISE] * ALWAYS})
    some = stages(tmp_path / "out.zarr", affinities, faults=faults.parent, memory="200kB")
    for message in (r"agglomerate/leaves: 1 blocks failed, at .* \(1, 0, 0\)", "PlannedError"):
        with pytest.raises(WorkFailed, match=message):
            run(some, store, InProcess(store))
    assert attempts(faults)[1 << 42] == 3
    (faults / f"{1 << 42}.plan").unlink()
    run(some, store, InProcess(store), redo_failed=True)
    check(tmp_path / "out.zarr", whole)
    assert set(attempts(faults).values()) == {1, 4}


@pytest.mark.parametrize("redo", ["fragments", "edges", "agglomerate"])
def test_boxes_made_anew_change_nothing(
    redo: str, affinities: Volume, whole: Path, store: Store, tmp_path: Path
) -> None:
    """Where the fragments have their final numbers already, which are at home in leaves far away, too."""
    some = stages(tmp_path / "out.zarr", affinities, memory="60kB")
    run(some, store, InProcess(store))
    run(some, store, InProcess(store), redo=redo)
    check(tmp_path / "out.zarr", whole)


def test_another_limit_begins_the_boxes_anew(affinities: Volume, whole: Path, store: Store, tmp_path: Path) -> None:
    """A run that ended among boxes may go on with other boxes, or with the whole graph at once."""
    faults = tmp_path / "faults"
    for memory in ("60kB", "100kB", "200kB"):
        plan(faults / "agglomerate 1", {0: [RAISE] * ALWAYS})
        with pytest.raises(WorkFailed, match="agglomerate/1: 1 blocks failed"):
            run(stages(tmp_path / "out.zarr", affinities, faults=faults, memory=memory), store, InProcess(store))
    assert store.totals("agglomerate/leaves").done > 1
    run(stages(tmp_path / "out.zarr", affinities, memory="1GB"), store, InProcess(store))
    check(tmp_path / "out.zarr", whole)
    assert not list(store.each(merges_of(0)))


def test_leaves_are_cut_by_edges_and_joins(affinities: Volume, store: Store, tmp_path: Path) -> None:
    """Naming takes memory for each join as merging does for each edge, so a block counts with both."""
    run(stages(tmp_path / "out.zarr", affinities)[:2], store, InProcess(store))
    sizes = boxes.Sizes(shape=SHAPE, block=BLOCK, full=255, rules=MergeRules())
    for block in sizes.grid().blocks():
        sizes.process(block, store)
    counted = [store.rows(table).nbytes for table in (EDGES, JOINS)]
    assert sizes.found(store)["nbytes"].sum() == sum(counted)
    assert min(counted) > 0


def test_what_a_leaf_sends_replaces_what_it_sent_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """To all others, in as many pieces as it takes; what others sent stays."""
    monkeypatch.setattr(shelf, "MOST_ROWS", 2)
    kept, some = shelf.Shelf(store), np.arange(5, dtype=np.uint64)
    kept.send(ASKED, 2, {0: some, 7: some[:1]})
    kept.send(ASKED, 3, {7: some[3:]})
    kept.send(ASKED, 2, {7: some[1:]})
    kept.send(ASKED, 2, {7: some[1:]})
    received = {
        to: [(sender, rows.tolist()) for sender, rows in kept.received(ASKED, to) if len(rows)] for to in (0, 7)
    }
    assert received == {0: [], 7: [(2, [1, 2]), (2, [3, 4]), (3, [3, 4])]}


def test_a_part_knows_nothing_of_places() -> None:
    """What a substage was made with is its cut; the rest is in the fingerprint of agglomerate."""
    substage = boxes.Leaves(shape=SHAPE, block=BLOCK, full=255, rules=MergeRules(), boxes=4, plan="x")
    assert substage.parameters() == {"boxes": 4, "plan": "x"}
    assert substage.grid().counts == (4, 1, 1)
