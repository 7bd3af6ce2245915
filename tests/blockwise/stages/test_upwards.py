"""Scores told box by box are those of the whole dendrogram, to the byte, and no box is given all there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.arrays.volume import Volume
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import InProcess, OnDask
from blockwise.grid import Voxels
from blockwise.kernels.graph.boxes import MERGE
from blockwise.kernels.scores.boxes import HandedOn, ScoresAsked, SolvedBox, solve_scores
from blockwise.kernels.scores.tables import truths_of
from blockwise.kernels.tables import OVERLAP
from blockwise.stage import Stage
from blockwise.stages.agglomerate.pieces import boxes_of
from blockwise.stages.evaluate import upwards
from blockwise.stages.evaluate.stage import Evaluate, EvaluateSettings
from blockwise.stages.tables import HANDED_ON
from blockwise.store import Store
from tests.blockwise.stages.test_evaluate import PLACE, walks
from tests.blockwise.stages.test_line import run
from tests.faults.planned import ALWAYS, DIE_AFTER_WRITE, DIE_BEFORE_WRITE, RAISE, attempts, plan
from tests.support.struck import Mortal
from tests.support.volumes import cells, line, store_volume, whole

SHAPE = (26, 33, 40)
SECOND = 1 << 42
"""The key of the second box of a level."""
BLOCKS: list[Voxels] = [(9, 11, 14), (26, 7, 40), (5, 33, 9)]
SETTINGS = {
    "neurons": {},
    "background": {"ignore": (), "least_voxels": 5},
    "large ones": {"min_voxels": 300, "false_merges": 100, "least_voxels": 1},
    "one merge": {"false_merges": 1, "ignore": (0, 3, 4)},
    "nearly all tie": {"statistic": "max"},
    "quantiles": {"statistic": "quantile_75"},
}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, Volume]:
    """Affinities of nine levels, so that edges tie, and a truth that is coarser than the cells."""
    folder = tmp_path_factory.mktemp("volume")
    affinities, labels = cells(SHAPE, spacing=6)
    truth = labels // 3
    truth[:4] = 0
    stored = store_volume(folder / "affinities", affinities // 28 * 28, **PLACE)
    return stored, store_volume(folder / "labels", truth, **PLACE)


def evaluated(
    output: Path, volume: tuple[Volume, Volume], block: Voxels, memory: str | None, **settings: Any
) -> tuple[bytes, int]:
    """evaluation.json, and how many boxes there were."""
    merging: dict[str, Any] = {"memory": memory, "statistic": settings.pop("statistic", "mean")}
    stages = line(output, volume[0], block, volume[1], merging=merging, cap=None)
    skeletons = walks(output.parent, whole(volume[1]))
    told = {"settings": EvaluateSettings(**settings), "written": (0.3, 0.7), "skeletons": skeletons, "space": volume[0]}
    stages[-1] = stages[-1].model_copy(update=told)
    run(output, stages)
    return (output / "evaluation.json").read_bytes(), len(boxes_of(Volume(path=output / "agglomeration")))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_boxes_give_the_bytes_of_the_whole(
    settings: dict[str, Any], volume: tuple[Volume, Volume], tmp_path: Path
) -> None:
    """Scores, run lengths, objects and false merges with their places, whatever blocks and boxes there are."""
    expected, count = evaluated(tmp_path / "whole.zarr", volume, SHAPE, None, **settings)
    assert count == 0
    content = json.loads(expected)
    assert len(content["objects"]) == 3
    assert 0 < content["best"]["erl_fraction"] < 1
    assert 0 < len(content["false_merges"]) <= settings.get("false_merges", 20)
    counts = []
    for place, (block, memory) in enumerate(zip(BLOCKS, ["200kB", "60kB", "60kB"], strict=True)):
        if place and settings:
            break
        found, count = evaluated(tmp_path / f"{place}.zarr", volume, block, memory, **settings)
        counts.append(count)
        assert json.loads(found) == content
        assert found == expected
    assert min(counts) > 2


def test_a_box_holds_its_own_and_what_was_handed_on(
    volume: tuple[Volume, Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leaf is given the rows of its own blocks, and what ends within a box is not handed on."""
    seen: list[tuple[int, int, int]] = []

    def watched(box: SolvedBox, inner: list[HandedOn], wanted: ScoresAsked) -> Any:
        found, handed = solve_scores(box, inner, wanted)
        seen.append((len(box.table), sum(len(one.clusters) for one in inner), len(handed.clusters)))
        return found, handed

    monkeypatch.setattr(upwards, "solve_scores", watched)
    evaluated(tmp_path / "whole.zarr", volume, SHAPE, None)
    ((everything, *others),) = seen
    assert others == [0, 0]
    seen.clear()
    evaluated(tmp_path / "boxes.zarr", volume, (9, 11, 14), "200kB")
    leaves = [own for own, _, _ in seen if own]
    assert len(leaves) > 2
    assert max(leaves) < everything / 2
    assert sum(handed for _, _, handed in seen) < sum(own + given for own, given, _ in seen)
    assert seen[-1][2] == 0


class MortalScores(Mortal, Evaluate):
    """Scores whose boxes die as planned."""


def scored(output: Path, volume: tuple[Volume, Volume], faults: Path) -> list[Stage]:
    """The line in boxes whose scoring dies as planned."""
    stages = line(output, volume[0], BLOCKS[0], volume[1], merging={"memory": "60kB"}, cap=None)
    return [*stages[:-1], MortalScores(faults=faults, **dict(stages[-1]))]


def expected_of(tmp_path: Path, volume: tuple[Volume, Volume]) -> bytes:
    """The scores of an undisturbed run without boxes."""
    stages = line(tmp_path / "whole.zarr", volume[0], SHAPE, volume[1], cap=None)
    run(tmp_path / "whole.zarr", stages)
    return (tmp_path / "whole.zarr" / "evaluation.json").read_bytes()


def test_workers_that_die_while_boxes_are_scored_change_nothing(
    volume: tuple[Volume, Volume], store: Store, dask_client: Any, tmp_path: Path
) -> None:
    """They die with a leaf and with boxes around, before or after they have written; others score them again."""
    faults = tmp_path / "faults"
    deaths = {
        "truths": DIE_AFTER_WRITE,
        "scores 0": DIE_BEFORE_WRITE,
        "scores 1": DIE_AFTER_WRITE,
        "objects 0": DIE_AFTER_WRITE,
        "objects 1": DIE_BEFORE_WRITE,
    }
    for substage, how in deaths.items():
        plan(faults / f"evaluate {substage}", {0: [how]})
    with OnDask(dask_client, store.url) as executor:
        run_stages(scored(tmp_path / "out.zarr", volume, faults), store, executor)
    assert (tmp_path / "out.zarr" / "evaluation.json").read_bytes() == expected_of(tmp_path, volume)
    assert all(attempts(folder)[0] >= 2 for folder in faults.iterdir() if (folder / "0.plan").exists())
    assert not any(list(store.each(table)) for table in HANDED_ON)


def test_scoring_that_was_cut_off_goes_on(volume: tuple[Volume, Volume], store: Store, tmp_path: Path) -> None:
    """Boxes that are marked are not scored again, though all blocks had been counted before."""
    faults = plan(tmp_path / "faults" / "evaluate scores 0", {SECOND: [RAISE] * ALWAYS})
    stages = scored(tmp_path / "out.zarr", volume, faults.parent)
    with InProcess(store) as executor, pytest.raises(WorkFailed, match=r"evaluate/scores/0: 1 blocks failed"):
        run_stages(stages, store, executor)
    assert not (tmp_path / "out.zarr" / "evaluation.json").exists()
    (faults / f"{SECOND}.plan").unlink()
    with InProcess(store) as executor:
        results = run_stages(stages, store, executor, RunOptions(redo_failed=True))
    assert results[-1].blocks_done == 0
    assert (tmp_path / "out.zarr" / "evaluation.json").read_bytes() == expected_of(tmp_path, volume)
    assert set(attempts(faults).values()) == {1, 4}


def test_merges_of_one_score_wait_for_those_around() -> None:
    """Two merges of a cluster that goes on have one score: the larger child comes first, in whichever box it is."""
    table = np.array([(1, 1, 90), (4, 2, 80), (6, 3, 70)], OVERLAP)
    inner = SolvedBox(table[:2], np.array([(4, 1, 0.5)], MERGE), np.array([1], np.uint64))
    outer = SolvedBox(table[2:], np.array([(6, 1, 0.5)], MERGE))
    wanted = ScoresAsked(truths_of(table, (0,)), (0.0,), 1, 5)
    within, handed = solve_scores(inner, [], wanted)
    around, _ = solve_scores(outer, [handed], wanted)
    assert within.false_merges == []
    assert [merge.clusters for merge in around.false_merges] == [(1, 6), (1, 4)]
