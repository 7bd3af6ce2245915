"""What was claimed before the study ran, and whether it held."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from contraband.experiments.study.comparison import RowScores, cell_of
from contraband.experiments.study.settings import Budget, Claim, StudySettings
from contraband.experiments.study.statistics import LEVEL, Estimate, estimate, holm

Verdict = Literal["held", "not held", "undecided"]


@dataclass(frozen=True)
class Decided:
    """A claim at one budget."""

    claim: Claim
    k: Budget
    difference: Estimate
    """By how much the arm is better than what it shall be above, and by how much more than `by`."""
    p: float
    """Corrected for the number of claims and budgets of its round (Holm)."""
    wanted: int
    """Draws that there shall be."""
    verdict: Verdict


def decide(settings: StudySettings, scores: RowScores) -> list[Decided]:
    """Every claim at each of its budgets.

    Held: the mean difference is above `by`, with a corrected p below 0.05. Not held: it is below, likewise. Else, and
    while draws are missing, undecided: nothing is shown either way.
    """
    places = [(claim, k) for claim in settings.claims for k in claim.at]
    found = [list(scores.differences(claim.arm, claim.above, cell_of(claim, k)).values()) for claim, k in places]
    beyond = [
        estimate([value - claim.by for value in values]) for (claim, _), values in zip(places, found, strict=True)
    ]
    rounds = [claim.round for claim, _ in places]
    corrected = _corrected(rounds, [one.p for one in beyond])
    decided = []
    for (claim, k), values, more, p in zip(places, found, beyond, corrected, strict=True):
        wanted = len(settings.rounds[claim.round].draws)
        verdict = _verdict(more, p) if more.count == wanted else "undecided"
        decided.append(Decided(claim, k, estimate(values), p, wanted, verdict))
    return decided


def overall(decided: Sequence[Decided]) -> Verdict:
    """Of one claim at all its budgets: held at each, not held at one, or undecided."""
    verdicts = {one.verdict for one in decided}
    if "not held" in verdicts:
        return "not held"
    return "held" if verdicts == {"held"} else "undecided"


def digest(settings: StudySettings) -> str:
    """Changes if a claim, or the rounds that it is decided on, change."""
    plain = settings.model_dump(mode="json", include={"claims", "rounds"})
    for one in plain["rounds"].values():
        # what is not used cannot have been changed
        if one["labels"] != "clicks":
            del one["images"]
        if one["labels"] != "patches":
            del one["patch"]
        if one["labels"] == "points":
            del one["labels"]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _corrected(rounds: Sequence[str], p_values: Sequence[float]) -> list[float]:
    """p values corrected for how many there are of their round: a round that confirms stands alone."""
    corrected = list(p_values)
    for name in set(rounds):
        here = [place for place, one in enumerate(rounds) if one == name]
        for place, p in zip(here, holm([p_values[place] for place in here]), strict=True):
            corrected[place] = p
    return corrected


def _verdict(over: Estimate, p: float) -> Verdict:
    if math.isnan(p) or p >= 1 - LEVEL:
        return "undecided"
    return "held" if over.mean > 0 else "not held"
