"""A volume that grew at the end of its first axis: finished blocks are kept, and all bytes are those of a fresh run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from blockwise.arrays.content import content_identity
from blockwise.arrays.volume import Volume, open_array
from blockwise.engine.options import RunOptions, StageResult
from blockwise.engine.run import run_stages
from blockwise.errors import Stale
from blockwise.executor import InProcess
from blockwise.grid import Grid, Voxels
from blockwise.stages import fragments as fragments_module
from blockwise.store import Store, open_store
from blockwise.store.sqlite import SqliteStore
from tests.faults.volume import sums
from tests.support.volumes import cells, line, store_volume

OLD, MIDDLE, NEW = (15, 13, 10), (17, 13, 10), (20, 13, 10)
WIDER = (15, 15, 10)
BLOCK: Voxels = (4, 7, 5)
SHARDS: Voxels = (4, 8, 8)


def put(folder: Path, shape: Voxels, named: bool = True, shards: Voxels = SHARDS, **attributes: object) -> None:
    """Affinities of so many voxels and their labels, as if imported: the first ones are always the same."""
    affinities, labels = cells((20, 15, 10), spacing=5)
    for name, data in (("affinities", affinities // 32 * 36), ("labels", labels)):
        path = folder / "in.zarr" / name
        shutil.rmtree(path, ignore_errors=True)
        cut = np.ascontiguousarray(data[(..., *(slice(0, size) for size in shape))])
        volume = store_volume(path, cut, shards, **attributes)
        if named:
            open_array(volume, "r+").attrs["identity"] = content_identity(volume, shape)


def run(
    folder: Path, block: Voxels = BLOCK, told: list[str] | None = None, truth: bool = False, **wishes: Any
) -> dict[str, StageResult]:
    """The line in this process, with evaluation if there is `truth`; the results by stage."""
    source, rules = folder / "in.zarr", wishes.pop("rules", {})
    labels = Volume(path=source / "labels") if truth else None
    stages = line(folder / "out.zarr", Volume(path=source / "affinities"), block, labels, **rules)
    announce = (told if told is not None else []).append
    with closing(open_store(f"sqlite:///{folder}/store.db")) as store, InProcess(store) as executor:
        results = run_stages(stages, store, executor, RunOptions(announce=announce, **wishes))
    return {result.name: result for result in results}


def digests(folder: Path) -> set[tuple[str, str]]:
    """sha256 of all arrays of the output with their attributes, and of evaluation.json where there is one."""
    (folder / "out.zarr" / "report.json").write_text('{"stages": {}}')
    found = sums(folder / "out.zarr")
    assert {"fragments", "agglomeration/score", "segments/0.5"} <= found.keys()
    return {*found.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the old volume."""
    folder = tmp_path_factory.mktemp("old")
    put(folder, OLD)
    run(folder)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """What a run of the new volume makes that knows nothing of the old one."""
    folder = tmp_path_factory.mktemp("new")
    put(folder, NEW)
    run(folder, truth=True)
    return digests(folder)


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def test_fragments_and_edges_are_kept(folder: Path, fresh: set[tuple[str, str]]) -> None:
    """Blocks that neither ended nor read beyond the old end stay; one line says how many; then all is done."""
    run(folder, truth=True)
    put(folder, NEW)
    told: list[str] = []
    results = run(folder, told=told, truth=True)
    kept, made = results["fragments"].blocks_skipped, results["fragments"].blocks_done
    assert 0 < kept <= results["edges"].blocks_skipped == 2 * 2
    assert kept + made == 5 * 2 * 2
    assert told == [
        f"{folder}/in.zarr/affinities grew from [15, 13, 10] to [20, 13, 10]: fragments keeps {kept} blocks and makes "
        f"{made}; edges keeps 4 blocks and makes 16; redone: agglomerate (1), segment/0.5 (20), evaluate (20)"
    ]
    assert digests(folder) == fresh
    assert not any(result.blocks_done for result in run(folder, truth=True).values())


@pytest.mark.parametrize("block", [(5, 13, 5), (3, 4, 10)], ids=str)
def test_any_block_shape(block: Voxels, tmp_path: Path, fresh: set[tuple[str, str]]) -> None:
    """Thin, thick and uneven blocks, in two steps of which the first is smaller than what a block reads."""
    put(tmp_path, OLD)
    run(tmp_path, block=block)
    for shape in (MIDDLE, NEW):
        put(tmp_path, shape)
        assert run(tmp_path, block=block)["edges"].blocks_skipped > 0
    assert digests(tmp_path) <= fresh


def test_final_numbers_of_the_old_volume_would_be_wrong(
    folder: Path, fresh: set[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: were all numbers kept that `segment` wrote, fragments would be one that no longer are."""

    def keep_all(store: Store, grid: Grid, box: Voxels) -> np.ndarray:
        return np.zeros(grid.counts, bool)

    monkeypatch.setattr(fragments_module, "carry_numbers", keep_all)
    put(folder, NEW)
    run(folder)
    assert not digests(folder) <= fresh


class Death(KeyboardInterrupt):
    """The run ends here."""


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int, str], None]]:
    """die(what, nth, moment): the next run ends before or after the nth time that it does that."""

    def plan(what: str, nth: int, moment: str) -> None:
        owner: Any = zarr.Array if what == "resize" else SqliteStore
        whole, count = getattr(owner, what), 0

        def struck(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == nth and moment == "before":
                raise Death
            result = whole(*arguments)
            if count == nth:
                raise Death
            return result

        monkeypatch.setattr(owner, what, struck)

    yield plan
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("what", "nth", "moment"),
    [
        ("clear", 2, "after"),
        ("keep", 1, "after"),
        ("put_stage", 1, "after"),
        ("keep", 2, "after"),
        ("resize", 1, "before"),
        ("resize", 2, "after"),
        ("put_all", 12, "after"),
        ("put_all", 40, "before"),
    ],
)
@pytest.mark.slow
def test_a_run_that_dies_while_it_grows_goes_on(
    folder: Path,
    fresh: set[tuple[str, str]],
    die: Callable[[str, int, str], None],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    nth: int,
    moment: str,
) -> None:
    """Wherever it ends, the next run finds the store of the old volume, of the new one, or between, and finishes."""
    put(folder, NEW)
    die(what, nth, moment)
    with pytest.raises(Death):
        run(folder)
    monkeypatch.undo()
    assert run(folder)["edges"].blocks_skipped >= 4
    assert digests(folder) <= fresh


def test_a_volume_that_grows_while_its_run_is_dead(
    folder: Path, fresh: set[tuple[str, str]], die: Callable[[str, int, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grew, the run died among the edges, and it grew again before the run went on."""
    put(folder, MIDDLE)
    die("put_all", 40, "after")
    with pytest.raises(Death):
        run(folder)
    monkeypatch.undo()
    put(folder, NEW)
    assert run(folder)["fragments"].blocks_skipped > 0
    assert digests(folder) <= fresh


def test_edges_counted_after_renaming_are_not_trusted(folder: Path, fresh: set[tuple[str, str]]) -> None:
    """Edges redone on final numbers do not know which parts of a fragment met near the old end: both are redone."""
    run(folder, redo="edges")
    put(folder, NEW)
    with pytest.raises(Stale, match="--redo fragments"):
        run(folder)
    results = run(folder, redo="fragments")
    assert results["fragments"].blocks_skipped == results["edges"].blocks_skipped == 0
    assert digests(folder) <= fresh
    run(folder, redo="agglomerate")
    assert digests(folder) <= fresh


def test_edges_redone_with_the_growth(folder: Path, fresh: set[tuple[str, str]]) -> None:
    """Fragments are kept though edges are counted again."""
    put(folder, NEW)
    results = run(folder, redo="edges")
    assert results["fragments"].blocks_skipped > 0 == results["edges"].blocks_skipped
    assert digests(folder) <= fresh


def test_old_voxels_that_changed_are_noticed(folder: Path) -> None:
    """The old part of the array is summed and compared with the identity that it had; nothing is written."""
    put(folder, NEW)
    source = Volume(path=folder / "in.zarr" / "affinities")
    open_array(source, "r+")[0, 3, 4, 5] += 1
    before = sums_of_store(folder)
    with pytest.raises(Stale, match=r"grown from \[15, 13, 10\] to \[20, 13, 10\].*changed within.*--redo fragments"):
        run(folder)
    assert sums_of_store(folder) == before


def test_an_array_without_identity_takes_the_users_word(tmp_path: Path, fresh: set[tuple[str, str]]) -> None:
    """Nothing tells whether the old voxels are the same: the run stops, unless the user says so."""
    put(tmp_path, OLD, named=False)
    run(tmp_path)
    put(tmp_path, NEW, named=False)
    with pytest.raises(Stale, match=r"no attribute.*use --grown if no old voxel has changed, else --redo fragments"):
        run(tmp_path)
    assert run(tmp_path, grown=True)["edges"].blocks_skipped == 4
    assert digests(tmp_path) <= fresh


def test_an_array_may_be_stored_otherwise(folder: Path, fresh: set[tuple[str, str]]) -> None:
    """An import of more sections may make other shards; where the voxels are compared, that is no matter."""
    put(folder, NEW, shards=(5, 13, 10))
    with pytest.raises(Stale, match=r"input 0 \(affinities\) changed: 0 chunk_grid"):
        run(folder, grown=True)
    assert run(folder)["edges"].blocks_skipped == 4
    assert digests(folder) <= fresh


def test_a_word_is_not_taken_for_another_array(folder: Path) -> None:
    """Another voxel size or type is no growth, whatever the user says."""
    put(folder, NEW, note="another")
    with pytest.raises(Stale, match=r"input 0.*changed"):
        run(folder, grown=True)


def test_other_settings_are_stale_as_ever(folder: Path) -> None:
    """A volume that grew does not hide what else has changed, in stages that are kept or not."""
    put(folder, NEW)
    with pytest.raises(Stale, match=r"fragments\.smooth was 0\.5, is now 1"):
        run(folder, rules={"smooth": 1.0})
    with pytest.raises(Stale, match=r"agglomerate.*stop was"):
        run(folder, rules={"stop": 0.2})
    results = run(folder, rules={"stop": 0.2}, redo="agglomerate")
    assert results["edges"].blocks_skipped == 4


@pytest.mark.parametrize("shape", [WIDER, (12, 13, 10), (20, 12, 10)], ids=str)
def test_what_keeps_nothing_is_stale(folder: Path, shape: Voxels) -> None:
    """A volume that grew along y calls its fragments otherwise; one that shrank is another one."""
    put(folder, shape)
    with pytest.raises(Stale, match=r"volume shape was.*--redo fragments"):
        run(folder)


def test_growth_along_another_axis_with_redo(folder: Path, tmp_path: Path) -> None:
    """Arrays are enlarged all the same, and the outputs are those of a fresh run."""
    put(folder, WIDER)
    run(folder, redo="fragments")
    put(tmp_path / "b", WIDER)
    run(tmp_path / "b")
    assert digests(folder) == digests(tmp_path / "b")


def sums_of_store(folder: Path) -> list[tuple[str, str]]:
    """What the store knows of every stage."""
    with closing(open_store(f"sqlite:///{folder}/store.db")) as store:
        return [(one.name, one.fingerprint) for one in store.stages()]
