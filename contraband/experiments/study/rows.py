"""One row is an arm on a data set at a budget, for one draw and one seed. Rows are kept in a CSV that only grows."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockwise.errors import BadInput
from contraband.experiments.study.settings import SCORES, Budget, Round, StudySettings

KEYS = ("round", "data", "arm", "k", "draw", "seed")
COLUMNS = ("", "_dense")
"""Scores at the step that folds of the labels chose, and at the one that the dense validation part would choose."""
SCORE_FIELDS = tuple(f"{score}{column}" for column in COLUMNS for score in SCORES)
FIELDS = (
    *KEYS,
    "settings",
    "step",
    "step_dense",
    "steps",
    "seconds",
    "seconds_folds",
    "seconds_encoder",
    *SCORE_FIELDS,
)
TEST_FIELDS = (*KEYS, "settings", *SCORE_FIELDS)
DRAW_SEEDS = 100
"""Between the seeds of two draws of all labels."""

RowValues = Mapping[str, object]


@dataclass(frozen=True)
class Row:
    """Which row it is."""

    round: str
    data: str
    arm: str
    k: Budget
    """Labels: points, patches or clicks; 0 where none is used."""
    draw: int
    seed: int

    @property
    def name(self) -> str:
        """A name for its files: unlike those of all other rows, whatever arms are called."""
        plain = re.sub(r"\W+", "-", f"{self.data}-{self.arm}")
        whole = hashlib.sha256(repr((self.round, self.data, self.arm)).encode()).hexdigest()[:6]
        return f"{plain}-{whole}-k{self.k}-draw{self.draw}-seed{self.seed}"

    def is_of(self, name: str, data: str, arm: str, k: Budget) -> bool:
        """Whether it is of this round, data set, arm and budget, whatever its draw and seed."""
        return (self.round, self.data, self.arm, self.k) == (name, data, arm, k)

    def values(self) -> dict[str, object]:
        """Its columns."""
        return {key: getattr(self, key) for key in KEYS}

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Row:
        """The row that a line of the CSV tells of."""
        k: Budget = "all" if values["k"] == "all" else int(values["k"])
        return cls(values["round"], values["data"], values["arm"], k, int(values["draw"]), int(values["seed"]))


def seed_of(row: Row) -> int:
    """The seed of its weights, batches and encoder; where all is labelled, draws differ in nothing else."""
    return row.seed + DRAW_SEEDS * row.draw if row.k == "all" else row.seed


def wanted_rows(settings: StudySettings) -> list[Row]:
    """All rows, in the order in which they are run.

    Those without labels come first, then the first seeds of all rounds, then the second ones; of each the first
    budgets of all rounds, then the second ones. Within these a draw is complete over its arms before the next begins.
    So a study that is cut off is balanced: what it lacks are seeds, which a mean over draws needs least, and budgets.
    """
    rounds = settings.rounds.items()
    rows = [row for name, one in rounds for row in _without_labels(settings, name, one)]
    seeds = max(len(one.seeds) for one in settings.rounds.values())
    budgets = max(len(one.budgets) for one in settings.rounds.values())
    for seed, budget in itertools.product(range(seeds), range(budgets)):
        for name, one in rounds:
            if seed < len(one.seeds) and budget < len(one.budgets):
                rows += _of_seed(settings, name, one.seeds[seed], one.budgets[budget])
    return rows


def _without_labels(settings: StudySettings, name: str, one: Round) -> Iterator[Row]:
    arms = [arm for arm in settings.arms_of(name) if not settings.arms[arm].is_labelled]
    for data in one.data:
        yield from (Row(name, data, arm, 0, 0, 0) for arm in arms)


def _of_seed(settings: StudySettings, name: str, seed: int, k: Budget) -> Iterator[Row]:
    one = settings.rounds[name]
    labelled = [arm for arm in settings.arms_of(name) if settings.arms[arm].is_labelled]
    for draw, data in itertools.product(one.draws, one.data):
        yield from (Row(name, data, arm, k, draw, seed) for arm in labelled)


class RowFile:
    """A CSV of rows. A line counts once it ends: what a killed process left of the last one is cut off."""

    def __init__(self, path: Path, fields: tuple[str, ...]) -> None:
        self.path = path
        self.fields = fields

    def read(self) -> dict[Row, dict[str, str]]:
        """All rows; BadInput if the file has other columns."""
        if not self.path.exists():
            return {}
        text, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        lines = csv.DictReader(io.StringIO(text))
        if text and tuple(lines.fieldnames or ()) != self.fields:
            raise BadInput(self.path, "has other columns than this version writes", todo="choose another output")
        return {Row.of(line): line for line in lines}

    def append(self, row: Row, values: RowValues) -> None:
        """Add a row; it is on the disk when this returns. A number is written with all its digits."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            file.seek(0)
            whole = file.read().rpartition(b"\n")
            file.truncate(len(whole[0]) + len(whole[1]))
            text = io.StringIO()
            writer = csv.DictWriter(text, self.fields, restval="", lineterminator="\n")
            if not whole[1]:
                writer.writeheader()
            writer.writerow(row.values() | dict(values))
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())
