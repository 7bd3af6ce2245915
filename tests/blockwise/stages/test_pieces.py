"""A dendrogram in pieces says what the whole one does: all of it, of single fragments, and of each block's segments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.arrays.opening import open_group
from blockwise.arrays.volume import Volume, info
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import InProcess, OnDask
from blockwise.kernels.graph.agglomeration import Dendrogram, cut
from blockwise.kernels.tables import relabel
from blockwise.stage import Stage
from blockwise.stages.agglomerate.downwards import downwards, segment_rows
from blockwise.stages.agglomerate.pieces import boxes_of, read_columns
from blockwise.stages.agglomerate.stage import read_ancestry_of, read_dendrogram, write_dendrogram
from blockwise.stages.segment import Segment
from blockwise.stages.tables import NAMES, became_of, segments_of
from blockwise.store import Store, open_store
from tests.faults.planned import ALWAYS, DIE_AFTER_WRITE, DIE_BEFORE_WRITE, RAISE, attempts, plan
from tests.support.struck import Mortal
from tests.support.volumes import digest, line, store_tied

SHAPE = (26, 33, 40)
BLOCKS = [(9, 11, 14), (26, 7, 40), (5, 33, 9)]
STOP = 0.05
COLUMNS = ("fragment", "parent", "score")


class MortalSegments(Mortal, Segment):
    """Segments whose look-up dies as planned."""


@pytest.fixture(scope="module")
def affinities(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """Cells with affinities of nine levels, so that edges tie."""
    return store_tied(tmp_path_factory.mktemp("volume") / "affinities", SHAPE)


@pytest.fixture(scope="module")
def whole(affinities: Volume, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one block and one graph."""
    output = tmp_path_factory.mktemp("whole") / "out.zarr"
    with closing(open_store(f"sqlite:///{output.with_suffix('.db')}")) as store:
        run(stages(output, affinities, SHAPE), store)
    return output


@pytest.fixture(scope="module")
def boxed(affinities: Volume, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Volume, Store]]:
    """The dendrogram of many boxes, and its store."""
    output = tmp_path_factory.mktemp("boxed") / "out.zarr"
    with closing(open_store(f"sqlite:///{output.with_suffix('.db')}")) as store:
        run(stages(output, affinities, memory="60kB")[:3], store)
        yield tree_in(output), store


def stages(output: Path, affinities: Volume, block: Any = BLOCKS[0], stop: float = STOP, **merging: str) -> list[Stage]:
    """The line up to segment."""
    return line(output, affinities, block, threshold=max(stop, 0.5), stop=stop, merging=merging, cap=None)[:4]


def run(some: list[Stage], store: Store, **how: Any) -> None:
    with InProcess(store) as executor:
        run_stages(some, store, executor, RunOptions(**how))


def tree_in(output: Path) -> Volume:
    return Volume(path=output / "agglomeration")


def same(one: Dendrogram, other: Dendrogram) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)


@pytest.mark.parametrize(
    ("block", "memory", "stop"), zip(BLOCKS, ["200kB", "60kB", "60kB"], [STOP, STOP, 0.6], strict=True)
)
def test_each_block_is_told_the_segments_of_the_whole(
    block: Any, memory: str, stop: float, affinities: Volume, whole: Path, store: Store, tmp_path: Path
) -> None:
    """Whatever boxes and stop there are, each block is told at each threshold what the whole dendrogram says."""
    run(stages(tmp_path / "out.zarr", affinities, block, stop, memory=memory)[:3], store)
    pieces = tree_in(tmp_path / "out.zarr")
    tree = read_dendrogram(pieces)
    assert same(tree, read_dendrogram(tree_in(whole))) == (stop == STOP)
    assert len(boxes_of(pieces)) > 2
    told = 0
    for threshold in (
        stop,
        *np.quantile(tree.score[tree.score > stop], (0.2, 0.5, 0.8), method="nearest").tolist(),
        1.0,
    ):
        segment = cut(tree, threshold)
        for substage in downwards("segment/x", pieces, threshold):
            for one in substage.grid().blocks():
                substage.process(one, store)
        for key, names in store.each(NAMES):
            wanted = segment_rows(names["fragment"], relabel(names["fragment"], tree.fragment, segment))
            assert np.array_equal(store.get(segments_of("segment/x"), key), wanted)
        told += sum(len(rows) for _, rows in store.each(became_of("segment/x")))
    assert told > 0


def test_single_fragments_are_looked_up_as_in_the_whole(boxed: tuple[Volume, Store], whole: Path) -> None:
    """What live views climb is the same, row by row."""
    ways, wanted = (read_ancestry_of(group) for group in (boxed[0], tree_in(whole)))
    assert all(np.array_equal(getattr(ways, name), getattr(wanted, name)) for name in (*COLUMNS, "jump"))


def test_each_merge_lies_in_one_piece_and_each_block_in_one_leaf(boxed: tuple[Volume, Store]) -> None:
    """So nothing is told twice, and no block is forgotten."""
    group, store = boxed
    solved, tree = boxes_of(group), read_dendrogram(group)
    children = [read_columns(group, row, "child")[0] for row in range(len(solved))]
    assert np.array_equal(np.sort(np.concatenate(children)), tree.fragment[tree.parent != tree.fragment])
    leaves = np.flatnonzero(solved["level"] == 0).tolist()
    blocks = np.concatenate([read_columns(group, row, "blocks")[0] for row in leaves])
    assert np.array_equal(np.sort(blocks), [key for key, _ in store.each(NAMES)])


def test_workers_that_die_while_segments_are_looked_up_change_nothing(
    affinities: Volume, whole: Path, store: Store, dask_client: Any, tmp_path: Path
) -> None:
    """They die with a box and with a leaf, after or before they have written; others look it up again."""
    faults = tmp_path / "faults"
    for substage, how in {"1": DIE_AFTER_WRITE, "leaves": DIE_BEFORE_WRITE}.items():
        plan(faults / f"segment 0.5 {substage}", {0: [how]})
    some = stages(tmp_path / "out.zarr", affinities, memory="60kB")
    some[3] = MortalSegments(faults=faults, **dict(some[3]))
    with OnDask(dask_client, store.url) as executor:
        run_stages(some, store, executor)
    for name in ("fragments", "segments/0.5"):
        assert digest(Volume(path=tmp_path / "out.zarr" / name)) == digest(Volume(path=whole / name))
    assert all(attempts(folder)[0] >= 2 for folder in faults.iterdir() if (folder / "0.plan").exists())
    assert not list(store.each(became_of("segment/0.5")))


def test_numbers_that_workers_died_with_are_the_same(
    affinities: Volume, store: Store, dask_client: Any, tmp_path: Path
) -> None:
    """They die as segments are listed and as they are numbered, layer by layer; the numbers are those of one graph."""
    faults = tmp_path / "faults"
    for substage, how in {"begins": DIE_AFTER_WRITE, "numbers": DIE_BEFORE_WRITE}.items():
        plan(faults / f"segment 0.5 {substage}", {1 << 42: [how]})
    some = stages(tmp_path / "out.zarr", affinities, memory="60kB")
    some[3] = MortalSegments(faults=faults, **dict(some[3]) | {"numbers": "compact"})
    with OnDask(dask_client, store.url) as executor:
        run_stages(some, store, executor)
    whole_line = stages(tmp_path / "whole.zarr", affinities, SHAPE)
    whole_line[3] = Segment(**dict(whole_line[3]) | {"numbers": "compact"})
    with closing(open_store(f"sqlite:///{tmp_path}/whole.db")) as other:
        run(whole_line, other)
    assert digest(some[3].target) == digest(whole_line[3].target)
    assert info(some[3].target).dtype == info(whole_line[3].target).dtype == np.uint8
    assert all(attempts(folder)[1 << 42] >= 2 for folder in faults.iterdir() if (folder / f"{1 << 42}.plan").exists())


def test_a_look_up_that_was_cut_off_goes_on(affinities: Volume, whole: Path, store: Store, tmp_path: Path) -> None:
    """Leaves that are marked are not looked up again, and the segments are those of an undisturbed run."""
    faults = plan(tmp_path / "faults" / "segment 0.5 leaves", {1 << 42: [RAISE] * ALWAYS})
    some = stages(tmp_path / "out.zarr", affinities, memory="200kB")
    some[3] = MortalSegments(faults=faults.parent, **dict(some[3]))
    with pytest.raises(WorkFailed, match=r"segment/0\.5/leaves: 1 blocks failed"):
        run(some, store)
    (faults / f"{1 << 42}.plan").unlink()
    run(some, store, redo_failed=True)
    assert digest(some[3].target) == digest(Volume(path=whole / "segments/0.5"))
    assert set(attempts(faults).values()) == {1, 4}


def test_pieces_and_whole_take_each_others_place(affinities: Volume, whole: Path, store: Store, tmp_path: Path) -> None:
    """Merging again, in boxes or at once, leaves nothing of what lay there, and the same dendrogram and segments."""
    output = tmp_path / "out.zarr"
    for memory in ("60kB", "1GB", "200kB"):
        run(stages(output, affinities, memory=memory), store, redo="agglomerate")
        pieces = len(boxes_of(tree_in(output)))
        there = {path.name for path in (output / "agglomeration").iterdir()} - {"zarr.json"}
        assert there == ({"boxes"} if pieces else set(COLUMNS))
        assert (pieces > 0) == (memory != "1GB")
        if pieces:
            assert len(list((output / "agglomeration" / "boxes").iterdir())) == pieces + 1
        assert same(read_dendrogram(tree_in(output)), read_dendrogram(tree_in(whole)))
        assert digest(Volume(path=output / "segments/0.5")) == digest(Volume(path=whole / "segments/0.5"))


def test_a_dendrogram_of_an_earlier_version_is_cut_as_it_is(
    affinities: Volume, whole: Path, store: Store, tmp_path: Path
) -> None:
    """One that boxes were put together to before there were pieces; nothing is merged again."""
    some = stages(tmp_path / "out.zarr", affinities, memory="60kB")
    run(some[:3], store)
    group = tree_in(tmp_path / "out.zarr")
    write_dendrogram(group, read_dendrogram(group))
    assert set(open_group(group.path).keys()) == set(COLUMNS)
    done = store.totals("agglomerate/leaves").cpu_seconds
    run(some, store)
    assert digest(some[3].target) == digest(Volume(path=whole / "segments/0.5"))
    assert store.totals("agglomerate/leaves").cpu_seconds == done
    assert [one.name for one in store.stages() if one.name.startswith("segment/0.5/")] == []


def test_compact_numbers_are_those_of_the_whole(affinities: Volume, store: Store, tmp_path: Path) -> None:
    """They are counted over all segments, from pieces as from the whole."""
    found = []
    for memory in ("60kB", "1GB"):
        output = tmp_path / f"{memory}.zarr"
        with closing(open_store(f"sqlite:///{output.with_suffix('.db')}")) as own:
            some = stages(output, affinities, memory=memory)
            some[3] = some[3].model_copy(update={"numbers": "compact"})
            run(some, own)
        found.append(digest(some[3].target))
    assert found[0] == found[1]
