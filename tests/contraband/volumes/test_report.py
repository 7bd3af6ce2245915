"""What is printed of an evaluation: the rows that matter, in 80 columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from blockwise.engine.options import StageResult
from blockwise.files.traffic import Traffic
from contraband.volumes.report import (
    as_rows,
    by_stage,
    print_false_merges,
    print_scores,
    print_traffic,
    remarks_on_scores,
    rows_to_print,
)

LABELS = {"voi_split": 1.2345, "voi_merge": 2.3456, "arand": 0.9876, "matched": 1234, "truth_objects": 5678, "f1": 0.5}
RUNS = {"erl": 123456.7, "erl_fraction": 0.123}
NO_LABELS = dict.fromkeys(("voi_split", "voi_merge", "voi_sum", "arand", "matched", "f1"))


def evaluation(best: int, **more: Any) -> dict[str, Any]:
    """Every hundredth, the best at one of them."""
    rows: list[dict[str, Any]] = [
        {"threshold": step / 100, "voi_sum": abs(step - best) / 100, "segments": 12345678 - step, **LABELS, **more}
        for step in range(101)
    ]
    return {"best": rows[best], "thresholds": rows}


@pytest.mark.parametrize(
    ("best", "near"), [(3, range(7)), (0, range(4)), (100, range(97, 101)), (50, range(47, 54))], ids=str
)
def test_the_rows_around_the_best_and_the_chosen_are_printed(best: int, near: range) -> None:
    """The best with its neighbours, and those of segment.thresholds, each once and in order."""
    found = rows_to_print(evaluation(best), [0.5, 0.9, 0.123])
    assert [row["threshold"] for _, row in found] == [step / 100 for step in sorted({*near, 50, 90})]
    names = {row["threshold"]: name for name, row in found if name}
    assert names == {0.5: "segments/0.5", 0.9: "segments/0.9"} | {best / 100: "best, written" if best == 50 else "best"}


@pytest.mark.parametrize("more", [{}, RUNS, {**NO_LABELS, **RUNS}], ids=["labels", "both", "skeletons"])
def test_scores_fit_into_80_columns(more: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Also with both kinds of truth and many objects; no number is cut off."""
    print_scores(Console(width=200), rows_to_print(evaluation(30, **more), [0.5]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, (line.rstrip() for line in lines))) <= 80
    assert any(line.startswith("best") for line in lines)
    assert "-" not in lines[-1]
    assert ("123456.7" in lines[-1]) is bool(more)
    assert ("1234/5678" in lines[-1]) is not bool(more)


def test_false_merges_fit_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """With numbers as large as those of a volume of a gigavoxel."""
    row = {
        "score": 0.1234,
        "truth": [1234, 2345],
        "voxels": [1234567, 123456],
        "voi_merge": 0.1234,
        "voxel": [123, 1234, 1234],
        "place": [4920.0, 4936.0, 4936.0],
        "fragments": [1234567890, 1234567891],
    }
    print_false_merges(Console(width=200), [row])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_labels_of_which_nothing_is_scored_are_told(tmp_path: Path) -> None:
    """Truth that is all background or not labelled gives no scores: a line says so, and none with skeletons alone."""
    labels = tmp_path / "labels"
    unscored = {"thresholds": [{"threshold": threshold, **NO_LABELS} for threshold in (0.1, 0.5)]}
    assert remarks_on_scores(unscored, 0.0, labels)[0].startswith(f"{labels}: no voxel of the labels is scored")
    runs = {"thresholds": [{**row, "erl": length} for row, length in zip(unscored["thresholds"], (2, 1), strict=True)]}
    runs["thresholds"].insert(0, {**runs["thresholds"][0], "threshold": 0.0, "erl": 1})
    assert remarks_on_scores(runs, 0.0, None) == []
    assert "the skeletons no path" in remarks_on_scores(unscored, 0.0, None)[0]
    assert remarks_on_scores(evaluation(50), 0.0, labels) == []


def stage_result(name: str, traffic: Traffic, ratio: float | None) -> StageResult:
    """Of a stage of one block."""
    return StageResult(name, 1, 0, 0, 1000, 1.0, 1.0, 10**6, 1.0, "f", traffic, ratio)


def test_traffic_of_thresholds_is_added_up_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes and requests are summed over them, the ratio is the largest, and a stage that asked nobody has no row."""
    results = [
        stage_result("edges", Traffic(), None),
        stage_result("segment/0.3", Traffic(10, 2_000_000, 3, 4_000_000), 1.01),
        stage_result("segment/0.5", Traffic(20, 1_500_000, 5, 1_000_000), None),
    ]
    print_traffic(Console(width=80), as_rows(by_stage(results)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("segment")] == [
        ["segment", "3.5", "1.01", "30", "5.0", "8"]
    ]
    assert not any(line.startswith("edges") for line in lines)
    print_traffic(Console(width=80), as_rows(by_stage(results[:1])))
    assert not capsys.readouterr().out
