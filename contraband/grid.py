"""The grid of an experiment: every combination with its state and its best score."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from contraband.experiment import Experiment, RunFolder
from contraband.params import Params


def grid_rows(params: Params, experiment: Experiment) -> list[dict[str, Any]]:
    """A row a training: combination, kind, steps done and wanted, last loss, best VOI of its validations."""
    rows = []
    for combination in params.combinations:
        if combination.contrastive is not None:
            folder = experiment.contrastive(combination.index)
            rows.append(_row(combination.index, "contrastive", folder, combination.contrastive.num_iterations))
        saved = experiment.contrastive(combination.index).saved_steps()
        for seg_index, seg in enumerate(params.seg):
            for checkpoint in [0] if seg.baseline else saved:
                head = experiment.seg(combination.index, seg_index, checkpoint)
                row = _row(combination.index, f"seg {seg_index} on {checkpoint or 'none'}", head, seg.num_iterations)
                best = min(_metrics(head.path / "metrics"), key=lambda found: float(found["voi_sum"]), default=None)
                row.update({key: float(best[key]) for key in ("threshold", "voi_sum", "arand")} if best else {})
                rows.append(row)
    return rows


def _row(index: int, kind: str, folder: RunFolder, wanted: int) -> dict[str, Any]:
    losses = np.load(folder.history, allow_pickle=False) if folder.history.exists() else np.zeros(0)
    saved = folder.saved_steps()
    return {
        "combination": index, "training": kind, "steps": saved[-1] if saved else 0, "wanted": wanted,
        "loss": float(losses[-1]) if len(losses) else None,
    }


def _metrics(folder: Path) -> Iterator[dict[str, str]]:
    for path in sorted(folder.glob("metrics_*.csv")):
        with path.open(encoding="utf-8", newline="") as lines:
            yield from csv.DictReader(lines)


def print_grid(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The rows of `grid_rows` as a table."""
    table = Table(box=None, pad_edge=False)
    for name in ("combination", "training", "steps", "loss", "threshold", "VOI sum", "adapted Rand"):
        table.add_column(name, justify="left" if name == "training" else "right", no_wrap=True)
    for row in rows:
        state = f"{row['steps']}/{row['wanted']}"
        numbers = (row.get(key) for key in ("loss", "threshold", "voi_sum", "arand"))
        shown = ("-" if value is None else f"{value:.4f}" for value in numbers)
        table.add_row(str(row["combination"]), row["training"], state, *shown)
    console.print(table)
