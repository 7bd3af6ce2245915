"""The grid of an experiment: every training with its state and its best score."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from blockwise.files.whole import write_text
from contraband.experiments.folders import BASELINE, Experiment, SegFolder
from contraband.experiments.folds import steps_wanted
from contraband.experiments.params import Params
from contraband.models.checkpoints import load_checkpoint
from contraband.models.folder import RunFolder
from contraband.training.settings import TrainSettings

Completion = Literal["missing", "begun", "done"]

INDEX = ("contrastive_comb", "seg_comb", "contrastive_ckpt", "seg_ckpt", "threshold")
"""The columns that tell in `best_metrics.csv` whose scores a line holds."""


@dataclass(frozen=True)
class Training:
    """One training of the grid: an encoder, or a head."""

    index: int
    """Combination of contrastive and model settings."""

    seg_index: int | None = None
    """Combination of seg settings; None for an encoder."""

    checkpoint: int = BASELINE
    """The contrastive checkpoint a head stands on; 0 for a baseline."""

    @property
    def name(self) -> str:
        """What people call it."""
        if self.seg_index is None:
            return f"combination {self.index}, contrastive"
        return f"combination {self.index}, seg {self.seg_index} on {self.checkpoint or 'none'}"

    def settings(self, params: Params) -> TrainSettings:
        """How it is trained."""
        if self.seg_index is not None:
            return params.seg[self.seg_index]
        settings = params.combination(self.index).contrastive
        assert settings is not None  # only encoders there are settings for are listed
        return settings

    def folder(self, experiment: Experiment) -> RunFolder:
        """Where its files lie."""
        if self.seg_index is None:
            return experiment.contrastive(self.index)
        return experiment.seg(self.index, self.seg_index, self.checkpoint)


def encoders(params: Params) -> list[Training]:
    """The contrastive trainings."""
    return [Training(one.index) for one in params.combinations if one.contrastive is not None]


def heads(params: Params, experiment: Experiment, index: int, checkpoints: Iterable[int] = ()) -> list[Training]:
    """The seg trainings of a combination: on the wanted contrastive checkpoints or all there are; baselines once."""
    saved = sorted(set(checkpoints)) or experiment.contrastive(index).saved_steps()
    return [
        Training(index, seg_index, checkpoint)
        for seg_index, settings in enumerate(params.seg)
        for checkpoint in ([BASELINE] if settings.baseline else saved)
    ]


def state_of(training: Training, params: Params, experiment: Experiment) -> Completion:
    """Whether its newest checkpoint has all steps, or all the time, that the settings grant."""
    folder, settings = training.folder(experiment), training.settings(params)
    saved = folder.saved_steps()
    if not saved:
        return "missing"
    if saved[-1] >= steps_wanted(folder, settings):
        return "done"
    if settings.max_seconds is None:
        return "begun"
    seconds = float(load_checkpoint(folder.checkpoint(saved[-1])).get("seconds", 0.0))
    return "done" if seconds >= settings.max_seconds else "begun"


def grid_rows(params: Params, experiment: Experiment) -> list[dict[str, Any]]:
    """A row a training: combination, kind, state, steps done and wanted, last loss, best scores of its validations."""
    heads_of = {one.index: heads(params, experiment, one.index) for one in params.combinations}
    rows = []
    for combination in params.combinations:
        encoder = [Training(combination.index)] if combination.contrastive is not None else []
        for training in [*encoder, *heads_of[combination.index]]:
            folder = training.folder(experiment)
            row = _row(training, folder, steps_wanted(folder, training.settings(params)))
            row["state"] = state_of(training, params, experiment)
            if isinstance(folder, SegFolder):
                best = min(_validations(folder), key=lambda found: float(found["voi_sum"]), default=None)
                row.update({key: float(best[key]) for key in ("threshold", "voi_sum", "arand")} if best else {})
            rows.append(row)
    return rows


def write_best_metrics(params: Params, experiment: Experiment) -> Path | None:
    """Write the best line, by VOI sum, of every metrics file of the experiment; None if nothing was validated yet."""
    lines = []
    for combination in params.combinations:
        for training in heads(params, experiment, combination.index):
            folder = training.folder(experiment)
            assert isinstance(folder, SegFolder)
            for step in folder.validated_steps():
                best = min(_lines(folder.metrics(step)), key=lambda found: float(found["voi_sum"]))
                place = dict(zip(INDEX, (*folder.place(), str(step), best["threshold"]), strict=True))
                lines.append(place | {key: value for key, value in best.items() if key not in place})
    if not lines:
        return None
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(experiment.best_metrics, text.getvalue())
    return experiment.best_metrics


def _row(training: Training, folder: RunFolder, wanted: int) -> dict[str, Any]:
    losses = np.load(folder.history, allow_pickle=False) if folder.history.exists() else np.zeros(0)
    saved = folder.saved_steps()
    kind = training.name.partition(", ")[2]
    return {
        "combination": training.index,
        "training": kind,
        "steps": saved[-1] if saved else 0,
        "wanted": wanted,
        "loss": float(losses[-1]) if len(losses) else None,
    }


def _validations(folder: SegFolder) -> Iterator[dict[str, str]]:
    for step in folder.validated_steps():
        yield from _lines(folder.metrics(step))


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def print_grid(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The rows of `grid_rows` as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("combination", "training", "state", "steps", "loss", "threshold", "VOI sum", "adapted Rand"):
        table.add_column(name, justify="left" if name in ("training", "state") else "right", no_wrap=True)
    for row in rows:
        steps = f"{row['steps']}/{row['wanted']}"
        numbers = (row.get(key) for key in ("loss", "threshold", "voi_sum", "arand"))
        shown = ("-" if value is None else f"{value:.4f}" for value in numbers)
        table.add_row(str(row["combination"]), row["training"], row["state"], steps, *shown)
    console.print(table)
