"""Run a study: the rows that are missing, each kept as soon as it is done."""

from __future__ import annotations

import itertools
import time

from blockwise.engine.options import Progress
from blockwise.errors import BadInput, WorkFailed
from blockwise.files.locks import only_one
from blockwise.files.whole import check_folder, write_json
from contraband.experiments.study.claims import digest
from contraband.experiments.study.computing import outcomes
from contraband.experiments.study.rows import Row, wanted_rows
from contraband.experiments.study.study import BUSY, Study


def check(study: Study) -> None:
    """Raise BadInput for whatever cannot work, before anything is written."""
    settings = study.settings
    for key, folder in (("output", settings.output), ("report", settings.report)):
        check_folder(folder / "rows.csv", key)
    for row in wanted_rows(settings):
        if settings.arms[row.arm].is_labelled:
            study.check_params(row)
    for name, one in settings.rounds.items():
        for data, k in itertools.product(one.data, one.budgets):
            study.drawn(Row(name, data, "", k, one.draws[0], 0))
    made = study.rows.read()
    for row, values in made.items():
        is_known = row.round in settings.rounds and row.arm in settings.arms and row.data in settings.data
        if is_known and values["settings"] != study.fingerprint(row):
            what = f"holds rows of other settings ({row.arm} on {row.data})"
            raise BadInput(study.rows.path, what, todo="undo the change, or choose another output")


def run_rows(study: Study, progress: Progress) -> int:
    """Run every row that is missing; how many those were. WorkFailed at the end if one failed; the others are kept."""
    study.output.mkdir(parents=True, exist_ok=True)
    with only_one(study.output / ".lock", study.output, BUSY):
        _note_claims(study)
        made = study.rows.read()
        wanted = wanted_rows(study.settings)
        missing = [row for row in wanted if row not in made]
        faults = []
        before = len(wanted) - len(missing)
        progress("rows", before, len(wanted), "")
        for done, outcome in enumerate(outcomes(study, missing, "learn"), start=1):
            row = outcome.row
            if outcome.values is None:
                faults.append(f"{row.name}: {outcome.fault}")
            else:
                study.rows.append(row, {"settings": study.fingerprint(row), **outcome.values})
            progress("rows", before + done, len(wanted), f"{row.arm}, {row.data}, k {row.k}, draw {row.draw}")
        if faults:
            raise WorkFailed(f"{len(faults)} of {len(missing)} rows failed, the others are kept: {faults[0]}")
        return len(missing)


def _note_claims(study: Study) -> None:
    """Remember what was claimed before the first row."""
    if not study.claimed.exists():
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        write_json(study.claimed, {"digest": digest(study.settings), "at": now})
