"""The tables of a report, as Markdown."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from contraband.experiments.study.claims import Decided, overall
from contraband.experiments.study.comparison import Cell, RowScores
from contraband.experiments.study.rows import Row, wanted_rows
from contraband.experiments.study.settings import OF_KIND, SCORES, Budget, StudySettings, size_of
from contraband.experiments.study.statistics import Estimate, estimate, holm

Lines = Iterator[str]
BELOW = "▼"
NAMES = {
    "f1": "F1 of objects (IoU > 0.5)",
    "ap": "average precision of the boundary",
    "voi": "VOI in bits, less is better",
}


@dataclass(frozen=True)
class ArmDifference:
    """How one arm differs from the reference at one place."""

    arm: str
    place: Cell
    by_draw: Mapping[int, float]
    found: Estimate
    p: float
    """Corrected for all differences of the report (Holm)."""


def places(settings: StudySettings, column: str = "") -> Iterator[Cell]:
    """Every round, data set, budget and score."""
    for name, one in settings.rounds.items():
        for data in one.data:
            for score, k in itertools.product(OF_KIND[settings.data[data].kind], one.budgets):
                yield Cell(name, data, k, f"{score}{column}")


def claims_table(decided: Sequence[Decided]) -> Lines:
    """Each claim with its verdict, and the differences that decide it."""
    yield from _head("claim", "on", "k", "difference", "95 % interval", "draws above 0", "corrected p", "verdict")
    for claim, group in itertools.groupby(decided, lambda one: one.claim):
        each = list(group)
        by = f" by more than {claim.by:g}" if claim.by else ""
        for one in each:
            text = f"{claim.arm} above {claim.above}{by}, {claim.score}"
            cells = (_mean(one.difference), _interval(one.difference), f"{one.difference.above} of {one.wanted}")
            lacks = one.wanted - one.difference.count
            verdict = one.verdict if not lacks else f"{one.verdict}: {lacks} draws are missing"
            yield _row(text, f"{claim.on} ({claim.round})", one.k, *cells, _p(one.p), verdict)
        if len(each) > 1:
            yield _row(f"{claim.arm} above {claim.above}{by}, {claim.score}", "", "all", "", "", "", "", overall(each))


def scores_table(scores: RowScores, name: str, data: str, column: str) -> Lines:
    """Mean scores of all arms with their intervals; an arm below one that needs no label is marked."""
    settings = scores.settings
    budgets = settings.rounds[name].budgets
    kinds = OF_KIND[settings.data[data].kind]
    yield from _head("arm", *(f"{score}, k = {k}" for score in kinds for k in budgets))
    for arm in settings.arms_of(name):
        where = [Cell(name, data, k, f"{score}{column}") for score in kinds for k in budgets]
        yield _row(arm, *(_cell(scores, arm, place) for place in where))


def differences(scores: RowScores, reference: str, column: str = "") -> list[ArmDifference]:
    """Of every arm to the reference, everywhere, in the order of places; arms without labels are among them."""
    settings = scores.settings
    found = []
    for place in places(settings, column):
        for arm in settings.arms_of(place.round):
            if arm != reference:
                by_draw = scores.differences(arm, reference, place)
                found.append((arm, place, by_draw))
    estimates = [estimate(list(by_draw.values())) for _, _, by_draw in found]
    corrected = holm([one.p for one in estimates])
    return [ArmDifference(*each, one, p) for each, one, p in zip(found, estimates, corrected, strict=True)]


def differences_table(found: Iterable[ArmDifference]) -> Lines:
    """Paired differences with both intervals, medians, signs, p and every draw."""
    yield from _head(
        "arm", "score", "k", "mean", "95 % (t)", "95 % (bootstrap)", "median", "above 0", "corrected p", "draw by draw"
    )
    for one in found:
        each = " ".join(f"{value:+.3f}" for value in one.by_draw.values())
        again = _span(one.found.low_bootstrap, one.found.high_bootstrap)
        signs = f"{one.found.above} of {one.found.count}"
        cells = (_mean(one.found), _interval(one.found), again, _number(one.found.median, True), signs, _p(one.p), each)
        yield _row(one.arm, one.place.score, one.place.k, *cells)


def beyond_unlabelled(scores: RowScores, name: str, data: str) -> Lines:
    """From how many labels on each arm is better than the best that needs none."""
    settings = scores.settings
    score = OF_KIND[settings.data[data].kind][0 if settings.data[data].kind == "nuclei" else -1]
    yield from _head("arm", "mean is better from k =", "whole interval is better from k =")
    for arm in settings.arms_of(name):
        if not settings.arms[arm].is_labelled:
            continue
        better: dict[str, Budget] = {}
        for k in sorted(settings.rounds[name].budgets, key=size_of):
            place = Cell(name, data, k, score)
            ends = _gains(scores, arm, place)
            better |= {end: k for end, gain in ends.items() if gain > 0 and end not in better}
        yield _row(arm, better.get("mean", "none tried"), better.get("worst", "none tried"))


def seconds_table(settings: StudySettings, rows: Mapping[Row, Mapping[str, str]]) -> Lines:
    """Mean CPU seconds of each arm, and how many of its trainings were best at their last checkpoint."""
    yield from _head("arm", "rows", "training", "its folds", "its encoder (shared)", "best at the last checkpoint")
    for arm in settings.arms:
        mine = [values for row, values in rows.items() if row.arm == arm]
        if not mine:
            yield _row(arm, 0, "", "", "", "")
            continue
        means = (fmean(float(one[key] or 0) for one in mine) for key in ("seconds", "seconds_folds", "seconds_encoder"))
        stepped = [one for one in mine if one["steps"]]
        last = sum(one["step_dense"] == one["steps"] for one in stepped)
        yield _row(arm, len(mine), *(f"{mean:.1f}" for mean in means), f"{last} of {len(stepped)}" if stepped else "")


def missing_table(settings: StudySettings, rows: Iterable[Row]) -> Lines:
    """How many rows of each arm are there, of how many."""
    there = set(rows)
    yield from _head("round", "arm", "rows there", "rows wanted")
    wanted = wanted_rows(settings)
    for name in settings.rounds:
        for arm in settings.arms_of(name):
            mine = [row for row in wanted if (row.round, row.arm) == (name, arm)]
            yield _row(name, arm, len(there.intersection(mine)), len(mine))


def arms_table(settings: StudySettings) -> Lines:
    """Every arm that was tried."""
    yield from _head("arm", "method", "features", "head", "who clicks", "begins with", "differs in")
    for name, arm in settings.arms.items():
        is_quick = arm.method == "quick"
        begins = arm.start if arm.method == "network" or (is_quick and arm.features == "embeddings") else ""
        own = ", ".join(f"{key}: {value}" for key, value in arm.seg.items())
        own = ", ".join(filter(None, [str(arm.params or ""), own]))
        head = arm.head if is_quick or arm.user else ""
        yield _row(name, arm.method, arm.features if is_quick else "", head, arm.user or "", begins, own)


def _gains(scores: RowScores, arm: str, place: Cell) -> dict[str, float]:
    """By how much the mean, and the worse end of its interval, are better than the best arm without labels."""
    better = SCORES[place.score]
    others = [better * value for value in scores.unlabelled(place).values()]
    found = scores.estimate(arm, place)
    if not others or not found.count:
        return {}
    worst = found.low if better > 0 else found.high
    return {"mean": better * found.mean - max(others), "worst": better * worst - max(others)}


def _cell(scores: RowScores, arm: str, place: Cell) -> str:
    found = scores.estimate(arm, place)
    if not found.count:
        return "-"
    mark = f" {BELOW}" if scores.settings.arms[arm].is_labelled and scores.is_below(arm, place) else ""
    if found.count == 1:
        return f"{found.mean:.3f}{mark}"
    return f"{found.mean:.3f} ± {(found.high - found.low) / 2:.3f}, median {found.median:.3f} ({found.count}){mark}"


def _head(*titles: str) -> Lines:
    yield _row(*titles)
    yield f"|{' --- |' * len(titles)}"


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _mean(found: Estimate) -> str:
    return _number(found.mean, True)


def _interval(found: Estimate) -> str:
    return _span(found.low, found.high)


def _span(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"


def _number(value: float, signed: bool = False) -> str:
    return "-" if math.isnan(value) else f"{value:+.3f}" if signed else f"{value:.3f}"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value >= 0.001 else "< 0.001"
