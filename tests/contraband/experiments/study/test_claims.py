"""Verdicts on claims, from given rows."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.experiments.study.claims import decide, digest, overall
from contraband.experiments.study.comparison import Cell, RowScores
from contraband.experiments.study.rows import Row
from contraband.experiments.study.settings import StudySettings
from tests.contraband.experiments.study.test_settings import plain

CLAIM = {"arm": "end to end", "above": "forest", "on": "discs", "at": [6], "score": "f1"}


def study(*claims: dict, draws: int = 6) -> StudySettings:
    """A study of so many draws that claims this."""
    return StudySettings.parse(plain(claims=list(claims), rounds__main__draws=list(range(draws))), "study")


def scores(settings: StudySettings, k: int = 6, **arms: list[float]) -> RowScores:
    """Rows of two seeds, the second one a little better, whose means over seeds are these for each draw."""
    found = {}
    for name, values in arms.items():
        arm = name.replace("_", " ")
        for draw, value in enumerate(values):
            for seed, more in enumerate((-0.01, 0.01)):
                labels = (k, draw, seed) if settings.arms[arm].is_labelled else (0, 0, 0)
                found[Row("main", "discs", arm, *labels)] = {"f1": repr(value + more)}
    return RowScores(settings, found)


def test_a_claim_is_held_where_all_draws_say_so():
    """Six draws that differ by about 0.2, all above zero: held."""
    settings = study(CLAIM)
    (one,) = decide(
        settings, scores(settings, forest=[0.4, 0.5, 0.3, 0.4, 0.5, 0.4], end_to_end=[0.6, 0.7, 0.5, 0.61, 0.7, 0.6])
    )
    assert (one.verdict, one.difference.count, one.difference.above) == ("held", 6, 6)
    assert one.difference.mean == pytest.approx(0.2, abs=0.01)
    assert overall([one]) == "held"


def test_a_claim_is_not_held_where_the_other_arm_is_better():
    """The same the other way round: not held."""
    settings = study(CLAIM)
    (one,) = decide(
        settings, scores(settings, end_to_end=[0.4, 0.5, 0.3, 0.4, 0.5, 0.4], forest=[0.6, 0.7, 0.5, 0.61, 0.7, 0.6])
    )
    assert (one.verdict, one.difference.above) == ("not held", 0)


def test_a_claim_is_undecided_where_draws_disagree():
    """Differences of either sign show nothing; nor do differences above zero that are not above what was claimed."""
    values = {"forest": [0.5] * 6, "end_to_end": [0.6, 0.4, 0.7, 0.5, 0.45, 0.56]}
    settings = study(CLAIM)
    (one,) = decide(settings, scores(settings, **values))
    assert one.verdict == overall([one]) == "undecided"
    better = {"forest": [0.4, 0.5, 0.3, 0.4, 0.5, 0.4], "end_to_end": [0.6, 0.7, 0.5, 0.61, 0.7, 0.6]}
    settings = study(CLAIM | {"by": 0.199})
    assert decide(settings, scores(settings, **better))[0].verdict == "undecided"
    settings = study(CLAIM | {"by": 0.3})
    assert decide(settings, scores(settings, **better))[0].verdict == "not held"


def test_missing_draws_leave_a_claim_undecided():
    """However clear five of six draws are, and where there is no row at all."""
    settings = study(CLAIM)
    (one,) = decide(settings, scores(settings, forest=[0.1] * 5, end_to_end=[0.6, 0.61, 0.6, 0.62, 0.6]))
    assert (one.verdict, one.difference.count, one.wanted) == ("undecided", 5, 6)
    assert decide(settings, scores(settings))[0].verdict == "undecided"


def test_claims_are_corrected_for_their_number():
    """p of about 0.03 holds alone, and does not beside other claims."""
    values = {"forest": [0.5] * 6, "end_to_end": [0.62, 0.48, 0.6, 0.58, 0.66, 0.56]}
    settings = study(CLAIM)
    (alone,) = decide(settings, scores(settings, **values))
    assert 0.01 < alone.p < 0.05
    assert alone.verdict == "held"
    settings = study(*[CLAIM | {"by": number / 1000} for number in range(5)])
    assert {one.verdict for one in decide(settings, scores(settings, **values))} == {"undecided"}


def test_a_claim_at_two_budgets_holds_at_both_or_not():
    """Held at one budget and undecided at the other is undecided; not held at one is not held."""
    settings = study(CLAIM | {"at": [6, 12]})
    better = {"forest": [0.4, 0.5, 0.3, 0.4, 0.5, 0.4], "end_to_end": [0.6, 0.7, 0.5, 0.61, 0.7, 0.6]}
    both = scores(settings, 6, **better).found | scores(settings, 12, **better).found
    assert overall(decide(settings, RowScores(settings, both))) == "held"
    one = decide(settings, scores(settings, 6, **better))
    assert [decided.verdict for decided in one] == ["held", "undecided"]
    assert overall(one) == "undecided"
    worse = {"end_to_end": better["forest"], "forest": better["end_to_end"]}
    mixed = scores(settings, 6, **better).found | scores(settings, 12, **worse).found
    assert overall(decide(settings, RowScores(settings, mixed))) == "not held"


def test_arms_without_labels_are_compared_with_every_draw():
    """Otsu has one score; an arm whose mean is below it is marked so, and of VOI less is better."""
    settings = study(CLAIM | {"above": "Otsu"})
    found = scores(settings, Otsu=[0.7], end_to_end=[0.6, 0.7, 0.5, 0.61, 0.7, 0.6])
    place = Cell("main", "discs", 6, "f1")
    assert list(found.differences("end to end", "Otsu", place).values()) == pytest.approx(
        np.array([0.6, 0.7, 0.5, 0.61, 0.7, 0.6]) - 0.71  # the second seed of Otsu is what its row holds
    )
    assert found.is_below("end to end", place)
    swapped = {row: {"voi": values["f1"]} for row, values in found.found.items()}
    less = RowScores(settings, swapped)
    assert not less.is_below("end to end", Cell("main", "discs", 6, "voi"))
    assert all(value > 0 for value in less.differences("end to end", "Otsu", Cell("main", "discs", 6, "voi")).values())


def test_seeds_that_only_one_arm_has_do_not_count():
    """A difference is of the same draw and the same seed."""
    settings = study(CLAIM)
    found = dict(scores(settings, forest=[0.5], end_to_end=[0.6]).found)
    del found[Row("main", "discs", "forest", 6, 0, 1)]
    (difference,) = (
        RowScores(settings, found).differences("end to end", "forest", Cell("main", "discs", 6, "f1")).values()
    )
    assert difference == pytest.approx(0.1)


def test_a_changed_claim_has_another_digest():
    """Claims, and the draws that decide them, are what the digest tells of."""
    assert digest(study(CLAIM)) == digest(study(CLAIM))
    assert digest(study(CLAIM)) != digest(study(CLAIM | {"at": [12]}))
    assert digest(study(CLAIM)) != digest(study(CLAIM, draws=7))
