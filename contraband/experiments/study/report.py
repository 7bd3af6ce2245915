"""The report of a study: Markdown, figures and the tables as CSV, from the rows alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from blockwise.files.whole import write_text
from contraband.experiments.study import figures, tables
from contraband.experiments.study.arms import probabilities
from contraband.experiments.study.claims import Decided, decide, digest
from contraband.experiments.study.comparison import Cell, RowScores
from contraband.experiments.study.computing import devices_of
from contraband.experiments.study.reading import readings
from contraband.experiments.study.rows import wanted_rows
from contraband.experiments.study.scores import segmented
from contraband.experiments.study.settings import OF_KIND, Budget, size_of
from contraband.experiments.study.study import Study

NAME = "report.md"
FIGURES = ("k", "seconds", "paired", "gain", "examples")
HEADINGS = {"": "Step chosen by folds of the given labels, as a user can", "_dense": "Step chosen by the dense part"}


def write_report(study: Study) -> list[Decided]:
    """Write report, figures and CSVs into the report's folder; the claims as they stand."""
    folder = study.settings.report
    folder.mkdir(parents=True, exist_ok=True)
    for table in (study.rows, study.tests):
        if table.path.exists():
            shutil.copyfile(table.path, folder / table.path.name)
    writer = _Report(study, folder)
    write_text(folder / NAME, "\n".join(writer.lines()) + "\n")
    return writer.decided


class _Report:
    """What the pages of a report are made from."""

    def __init__(self, study: Study, folder: Path) -> None:
        self.study = study
        self.settings = study.settings
        self.folder = folder
        self.rows = study.rows.read()
        self.test_rows = study.tests.read()
        self.is_tested = bool(readings(study))
        self.scores = RowScores(self.settings, self.test_rows if self.is_tested else self.rows)
        # Claims are decided by the test data alone: what the validation part says chose the steps.
        self.decided = decide(self.settings, RowScores(self.settings, self.test_rows))
        self.where = "test part" if self.is_tested else "validation part; the test data were not read yet"

    def lines(self) -> Iterator[str]:
        """The whole page."""
        yield f"# {self.folder.name}: a study of learning from few labels\n"
        yield from filter(None, [self.settings.question])
        yield from self._state()
        yield from self._claims()
        for name, one in self.settings.rounds.items():
            for data in one.data:
                yield from self._data(name, data)
        yield (
            "\n## Seconds\nCPU seconds of one thread, means over rows. Trainings were at their plateau where few "
            "are best at the last checkpoint. Of a session: what it computed for its clicks.\n"
        )
        yield from tables.seconds_table(self.settings, self.rows)
        if devices := devices_of(self.study.devices):
            yield f"\nRows were computed on {' and '.join(devices)}."
        yield "\n## What was tried\n"
        yield from tables.arms_table(self.settings)
        yield from (f"\nTried before this study: {one}" for one in self.settings.tried_elsewhere)
        yield "\n## What is missing\n"
        yield from tables.missing_table(self.settings, self.rows)

    def _state(self) -> Iterator[str]:
        wanted = wanted_rows(self.settings)
        there = sum(row in self.rows for row in wanted)
        yield f"\n{there} of {len(wanted)} rows are there. Scores below are of the {self.where}."
        read = readings(self.study)
        for number, one in enumerate(read, start=1):
            lacks = f", while {one['missing']} rows were missing" if one["missing"] else ""
            went = "; cut off, and gone on with at " + ", ".join(one["gone_on"]) if "gone_on" in one else ""
            yield f"\nThe test data were read at {one['at']} (reading {number} of {len(read)}{went}){lacks}."
        if len(read) > 1:
            yield "\n**The test data were read more than once.**"
        if self.study.claimed.exists():
            first = json.loads(self.study.claimed.read_text(encoding="utf-8"))
            same = first["digest"] == digest(self.settings)
            yield f"\nThe claims stood before the first row ({first['at']})" + (
                "." if same else ", **but they, or the rounds, were changed since.**"
            )

    def _claims(self) -> Iterator[str]:
        yield "\n## Claims\n"
        if not self.decided:
            yield "None was made."
            return
        if not self.is_tested:
            yield "They are decided by the test part, which was not read yet.\n"
        yield from tables.claims_table(self.decided)
        yield (
            "\nHeld: p below 0.05, corrected for the claims and budgets of the round (Holm), and above; not held: "
            "likewise, and below; else undecided. Differences are paired by draw and seed; a draw is the "
            "mean over its seeds. Intervals are not corrected."
        )

    def _data(self, name: str, data: str) -> Iterator[str]:
        yield f"\n## {data}, round {name}\n"
        kinds = OF_KIND[self.settings.data[data].kind]
        yield "; ".join(f"{score}: {tables.NAMES[score]}" for score in kinds)
        yield f"\n{tables.BELOW}: below an arm that uses no label. In brackets: draws."
        for column, heading in HEADINGS.items():
            yield f"\n### {heading}\n"
            yield from tables.scores_table(self.scores, name, data, column)
        yield "\n### From how many labels on is an arm better than what needs none?\n"
        yield from tables.beyond_unlabelled(self.scores, name, data)
        reference = self.settings.reference_of(name)
        yield f"\n### Paired differences to {reference}\n"
        every = tables.differences(self.scores, reference)
        yield f"p is corrected for all {len(every)} differences of this report (Holm).\n"
        here = [one for one in every if (one.place.round, one.place.data) == (name, data)]
        yield from tables.differences_table(here)
        yield from self._figures(name, data, here, reference)

    def _figures(self, name: str, data: str, here: list[tables.ArmDifference], reference: str) -> Iterator[str]:
        first = OF_KIND[self.settings.data[data].kind][0]
        place = Cell(name, data, self._largest(name, data), first)
        files = {kind: self.folder / f"{data}-{name}-{kind}.png" for kind in FIGURES}
        if not any(row.data == data and row.round == name for row in self.scores.found):
            return
        figures.over_budget(files["k"], self.scores, name, data)
        figures.over_seconds(files["seconds"], self.scores, self.rows, place)
        figures.paired(files["paired"], here, reference)
        figures.rescued(files["gain"], self.scores, [one for one in here if one.place.score == first], reference)
        self._examples(files["examples"], place)
        yield ""
        yield from (f"![{kind}]({path.name})" for kind, path in files.items() if path.exists())

    def _largest(self, name: str, data: str) -> Budget:
        """The largest budget of which rows are there; the first one if there is none."""
        budgets = self.settings.rounds[name].budgets
        there = {row.k for row in self.scores.found if (row.round, row.data) == (name, data)}
        return max((k for k in budgets if k in there), key=size_of, default=budgets[0])

    def _examples(self, path: Path, place: Cell) -> None:
        """The validation image with most objects, as each arm shows it with its first draw and seed."""
        data = self.study.data(place.data)
        images = data.images("validate")
        chosen = int(np.argmax([len(np.unique(section)) for section in images.labels]))
        seen = slice(chosen, chosen + 1) if data.settings.dims == 2 else slice(None)
        at = 0 if data.settings.dims == 2 else (0, chosen)
        draw, seed = self.settings.rounds[place.round].draws[0], self.settings.rounds[place.round].seeds[0]
        found = {}
        for row in self.rows:
            is_it = (row.k, row.draw, row.seed) in ((place.k, draw, seed), (0, 0, 0))
            if is_it and (row.round, row.data) == (place.round, place.data):
                said = probabilities(self.study, row, images.raw[seen], "")
                found[row.arm] = segmented(said, data.settings)[at].astype(np.uint32)
        if found:
            figures.examples(path, images.raw[chosen], images.labels[chosen].astype(np.uint32), found)
