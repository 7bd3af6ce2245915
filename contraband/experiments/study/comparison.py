"""Scores of arms draw by draw, and how two arms differ on the same draws and seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from contraband.experiments.study.rows import Row
from contraband.experiments.study.settings import SCORES, Budget, Claim, StudySettings
from contraband.experiments.study.statistics import Estimate, estimate


@dataclass(frozen=True)
class Cell:
    """Where arms are compared."""

    round: str
    data: str
    k: Budget
    score: str
    """A score, or a score at the step of the dense validation part, such as `f1_dense`."""


@dataclass(frozen=True)
class RowScores:
    """What rows have scored."""

    settings: StudySettings
    found: Mapping[Row, Mapping[str, str]]

    def of(self, arm: str, place: Cell) -> dict[tuple[int, int], float]:
        """Score by (draw, seed); an arm without labels scores the same at all budgets, under (0, 0)."""
        k: Budget = place.k if self.settings.arms[arm].is_labelled else 0
        return {
            (row.draw, row.seed): float(values[place.score])
            for row, values in self.found.items()
            if row.is_of(place.round, place.data, arm, k) and values.get(place.score)
        }

    def estimate(self, arm: str, place: Cell) -> Estimate:
        """The mean over draws, each the mean over its seeds."""
        return estimate(list(by_draw(self.of(arm, place).items()).values()))

    def differences(self, arm: str, other: str, place: Cell) -> dict[int, float]:
        """By draw, by how much the first arm is better: the mean over the seeds that both have."""
        ours, theirs = self.of(arm, place), self.of(other, place)
        better = SCORES[place.score.removesuffix("_dense")]
        if not self.settings.arms[other].is_labelled:
            theirs = dict.fromkeys(ours, theirs[0, 0]) if theirs else {}
        if not self.settings.arms[arm].is_labelled:
            ours = dict.fromkeys(theirs, ours[0, 0]) if ours else {}
        both = [which for which in ours if which in theirs]
        return by_draw((which, better * (ours[which] - theirs[which])) for which in both)

    def unlabelled(self, place: Cell) -> dict[str, float]:
        """Scores of the arms that use no label."""
        arms = [name for name in self.settings.arms_of(place.round) if not self.settings.arms[name].is_labelled]
        return {arm: found[0, 0] for arm in arms if (found := self.of(arm, place))}

    def is_below(self, arm: str, place: Cell) -> bool:
        """Whether the mean of an arm is worse than that of an arm that needs no label."""
        better = SCORES[place.score.removesuffix("_dense")]
        mean = self.estimate(arm, place).mean
        return any(better * (mean - other) < 0 for other in self.unlabelled(place).values())


def by_draw(values: Iterable[tuple[tuple[int, int], float]]) -> dict[int, float]:
    """The mean over seeds of each draw, in the order of draws."""
    groups: dict[int, list[float]] = defaultdict(list)
    for (draw, _), value in values:
        groups[draw].append(value)
    return {draw: fmean(groups[draw]) for draw in sorted(groups)}


def cell_of(claim: Claim, k: Budget) -> Cell:
    """Where a claim is decided at one of its budgets."""
    return Cell(claim.round, claim.on, k, claim.score)
