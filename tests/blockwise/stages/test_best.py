"""A best threshold at the end of those tried is named as such, with the way to go on."""

from __future__ import annotations

from typing import Any

import pytest

from blockwise.kernels.graph.rules import MergeRules
from blockwise.stages.evaluate.best import advice, best_at_end, best_row


def rows(scores: dict[float, float | None], erl: dict[float, float] | None = None) -> list[dict[str, Any]]:
    """Rows of an evaluation with these VOI sums, and expected run lengths as shares of the best."""
    lengths = erl or {}
    return [
        {"threshold": at, "voi_sum": voi}
        | ({"erl": 100 * lengths[at], "erl_fraction": lengths[at]} if at in lengths else {})
        for at, voi in scores.items()
    ]


FALLING = {0.1: 0.3, 0.2: 0.4, 0.3: 0.5}
RISING = {0.1: 0.5, 0.2: 0.4, 0.3: 0.3}
VALLEY = {0.1: 0.5, 0.2: 0.4, 0.3: 0.5}
UNKNOWN = dict.fromkeys(FALLING)
CASES: dict[str, tuple[list[dict[str, Any]], float, str | None, tuple[str, ...]]] = {
    "inside": (rows(VALLEY), 0.1, None, ()),
    "lowest, at stop": (rows(FALLING), 0.1, "low", ("0.1", "the lowest", "agglomerate.stop below 0.1", "--redo aggl")),
    "lowest, above stop": (rows(FALLING), 0.0, "low", ("0.1", "evaluate.thresholds", "--redo evaluate")),
    "highest": (rows(RISING), 0.1, "high", ("0.3", "the highest", "evaluate.thresholds", "--redo evaluate")),
    "the only one": (rows({0.5: 0.2}), 0.5, "both", ("0.5", "the only one", "agglomerate.stop", "thresholds")),
    "all is merged": (rows({0.0: 0.1, 0.1: 0.2}), 0.0, "low", ("lowest there is", "affinities")),
    "nothing is merged": (rows({0.9: 0.2, 1.0: 0.1}), 0.0, "high", ("highest there is", "fragments.cap")),
    "perfect": (rows({0.1: 0.0, 0.2: 0.2}), 0.1, None, ()),
    "no run is right": (rows(UNKNOWN, dict.fromkeys(FALLING, 0.0)), 0.1, None, ()),
    "skeletons": (rows(UNKNOWN, {0.1: 0.9, 0.2: 0.8, 0.3: 0.7}), 0.0, "low", ("0.1", "the lowest")),
    "perfect skeletons": (rows(UNKNOWN, {0.1: 1.0, 0.2: 0.8, 0.3: 0.7}), 0.0, None, ()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_best_threshold_at_an_end_is_said_with_the_way_to_go_on(name: str) -> None:
    """One line that names the threshold, the end, the key to change and what to make again; none inside."""
    found, stop, end, words = CASES[name]
    assert best_at_end(found) == end
    line = advice(found, stop)
    assert (line is None) == (end is None)
    for word in words:
        assert word in str(line)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (rows(UNKNOWN), "nothing was scored"),
        ([row | {"truth_objects": 1} for row in rows({0.0: 0.0, 0.1: 0.2})], "hold one object only"),
        ([row | {"truth_objects": 1} for row in rows(VALLEY)], "hold one object only"),
        (rows(dict.fromkeys(FALLING, 0.5)), "all 3 thresholds score alike"),
    ],
)
def test_a_truth_that_tells_nothing_of_thresholds_is_said(found: list[dict[str, Any]], line: str) -> None:
    """Labels that are all 0, or one object: a best threshold is named all the same, and means nothing."""
    assert line in str(advice(found, 0.0))
    assert advice([row | {"truth_objects": 2} for row in rows(VALLEY)], 0.0) is None


def test_the_best_row_has_the_least_voi_or_the_longest_runs() -> None:
    """Labels count before skeletons."""
    assert best_row(rows(VALLEY, {0.1: 1.0, 0.2: 0.1, 0.3: 0.1}))["threshold"] == 0.2
    assert best_row(rows(UNKNOWN, {0.1: 0.2, 0.2: 0.1, 0.3: 0.3}))["threshold"] == 0.3


def test_no_threshold_is_hidden_by_default() -> None:
    """Merges go on as far as any edge has an affinity, so that every threshold can be scored and written."""
    assert MergeRules().stop == 0
