"""The figures of a report, as PNG: scores over budgets and seconds, paired differences, example pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from contraband.experiments.study.comparison import Cell, RowScores, by_draw
from contraband.experiments.study.rows import Row
from contraband.experiments.study.settings import OF_KIND, Budget, size_of
from contraband.experiments.study.statistics import Estimate
from contraband.experiments.study.tables import ArmDifference
from contraband.volumes.figures import coloured, save

DPI = 90
COUNTED = {"points": "labelled points", "patches": "labelled patches", "clicks": "clicks"}
"""What a budget counts."""


def over_budget(path: Path, scores: RowScores, name: str, data: str) -> None:
    """Scores over the number of labels with 95 % intervals; arms without labels are dashed lines."""
    settings = scores.settings
    kinds = OF_KIND[settings.data[data].kind]
    one = settings.rounds[name]
    budgets = one.budgets
    places = along(budgets)
    figure = Figure(figsize=(4.6 * len(kinds) + 2, 3.6), layout="constrained")
    for axes, score in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for number, arm in enumerate(settings.arms_of(name)):
            each = [scores.estimate(arm, Cell(name, data, k, score)) for k in budgets]
            found = [(at, estimate) for at, estimate in zip(places, each, strict=True) if estimate.count]
            if not found:
                continue
            means = np.array([estimate.mean for _, estimate in found])
            if not settings.arms[arm].is_labelled:
                axes.axhline(means[0], color=f"C{number}", linestyle="--", linewidth=1, label=arm)
                continue
            reach = np.nan_to_num([estimate.high - estimate.mean for _, estimate in found])
            # Arms are drawn side by side, or their intervals hide each other.
            at = np.array([place for place, _ in found]) * 1.03 ** (number - len(settings.arms) / 2)
            axes.errorbar(at, means, reach, color=f"C{number}", marker="o", markersize=4, capsize=2, label=arm)
        axes.set(xscale="log", xticks=places, xticklabels=budgets, xlabel=COUNTED[one.labels], ylabel=score)
        axes.minorticks_off()
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path, DPI)


def along(budgets: Sequence[Budget]) -> list[float]:
    """Where budgets stand on an axis of logarithms: all labels as far beyond the largest number as that is large."""
    largest = max((k for k in budgets if k != "all"), default=1)
    return [min(size_of(k), 4.0 * largest) for k in budgets]


def over_seconds(path: Path, scores: RowScores, rows: Mapping[Row, Mapping[str, str]], place: Cell) -> None:
    """Score over CPU seconds of training, folds and encoder together: for each arm a point for every budget, joined.

    Arms without labels are dashed lines; the numbers are budgets.
    """
    settings = scores.settings
    figure = Figure(figsize=(6.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, arm in enumerate(settings.arms_of(place.round)):
        colour = f"C{number}"
        if not settings.arms[arm].is_labelled:
            if scores.of(arm, place):
                axes.axhline(scores.estimate(arm, place).mean, color=colour, linestyle="--", linewidth=1, label=arm)
            continue
        found = list(_paid_for(scores, rows, arm, place))
        if not found:
            continue
        seconds, estimates, budgets = zip(*found, strict=True)
        means = [one.mean for one in estimates]
        reach = np.nan_to_num([one.high - one.mean for one in estimates])
        axes.errorbar(seconds, means, reach, color=colour, marker="o", markersize=4, capsize=2, linewidth=1, label=arm)
        for place_of in zip(budgets, seconds, means, strict=True):
            axes.annotate(str(place_of[0]), place_of[1:], (3, 3), textcoords="offset points", fontsize=6)
    axes.set(xscale="log", xlabel="CPU seconds (training + folds + encoder)", ylabel=place.score)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path, DPI)


def _paid_for(
    scores: RowScores, rows: Mapping[Row, Mapping[str, str]], arm: str, place: Cell
) -> Iterator[tuple[float, Estimate, Budget]]:
    """Mean seconds and score of an arm at each budget that has rows."""
    for k in scores.settings.rounds[place.round].budgets:
        spent = [_spent(values) for row, values in rows.items() if row.is_of(place.round, place.data, arm, k)]
        found = scores.estimate(arm, replace(place, k=k))
        if found.count and spent:
            yield max(fmean(spent), 0.01), found, k


def paired(path: Path, found: Sequence[ArmDifference], reference: str) -> None:
    """Differences to the reference draw by draw, with means and 95 % intervals."""
    figure = Figure(figsize=(7, 0.5 + 0.32 * max(3, len(found))), layout="constrained")
    axes = figure.subplots()
    for height, one in enumerate(reversed(found)):
        axes.plot(list(one.by_draw.values()), [height] * len(one.by_draw), "o", color="0.7", markersize=3)
        if one.found.count > 1:
            reach = [[one.found.mean - one.found.low], [one.found.high - one.found.mean]]
            axes.errorbar([one.found.mean], [height], xerr=reach, color="C0", marker="|", capsize=3)
    names = [f"{one.arm}, {one.place.score}, k = {one.place.k}" for one in reversed(found)]
    axes.axvline(0, color="k", linewidth=0.8)
    axes.set(yticks=range(len(found)), yticklabels=names, xlabel=f"better than {reference} by")
    axes.tick_params(axis="y", labelsize=7)
    save(figure, path, DPI)


def rescued(path: Path, scores: RowScores, found: Iterable[ArmDifference], reference: str) -> None:
    """What an arm gains on a draw over what the reference scored there: does it only rescue draws that went wrong?"""
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, one in enumerate(found):
        there = by_draw(scores.of(reference, one.place).items())
        draws = [draw for draw in one.by_draw if draw in there]
        axes.plot(
            [there[draw] for draw in draws],
            [one.by_draw[draw] for draw in draws],
            "o",
            color=f"C{number}",
            label=f"{one.arm}, k = {one.place.k}",
        )
        axes.set(ylabel=f"gain in {one.place.score}", xlabel=f"{reference}: {one.place.score} of the draw")
    axes.axhline(0, color="k", linewidth=0.8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path, DPI)


def examples(
    path: Path, raw: NDArray[np.generic], truth: NDArray[np.uint32], found: Mapping[str, NDArray[np.uint32]]
) -> None:
    """One image: raw, true objects, and the objects of each arm."""
    panels = {"raw": raw, "truth": coloured(truth)} | {name: coloured(objects) for name, objects in found.items()}
    columns = min(5, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(2 * columns, 2.2 * lines), layout="constrained")
    for axes in figure.subplots(lines, columns, squeeze=False).ravel():
        axes.axis("off")
    for axes, (name, image) in zip(figure.axes, panels.items(), strict=False):
        axes.imshow(image, cmap="gray", interpolation="nearest")
        axes.set_title(name, fontsize=7)
    save(figure, path, DPI)


def _spent(values: Mapping[str, str]) -> float:
    return sum(float(values[key] or 0) for key in ("seconds", "seconds_folds", "seconds_encoder"))
