"""The one reading of the test data: a step of its own, which is remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from blockwise.engine.options import Progress
from blockwise.errors import BadInput, WorkFailed
from blockwise.files.locks import only_one
from blockwise.files.whole import write_json
from contraband.experiments.study.computing import outcomes
from contraband.experiments.study.rows import wanted_rows
from contraband.experiments.study.study import BUSY, Study


def read_test(study: Study, again: bool, incomplete: bool, progress: Progress) -> int:
    """Score all rows on the test part, once; how many were scored.

    A reading that was cut off goes on. BadInput if there was one, unless `again`, or if rows are missing, unless
    `incomplete`: the report tells all three.
    """
    check_rows(study, "--test")
    with only_one(study.output / ".lock", study.output, BUSY):
        made = study.rows.read()
        wanted = [row for row in wanted_rows(study.settings) if row in made]
        missing = len(wanted_rows(study.settings)) - len(wanted)
        scored = study.tests.read()
        new = [row for row in wanted if row not in scored]
        before = readings(study)
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        if before and new and len(wanted) == before[-1]["rows"] and not again:
            # What was cut off goes on as the same reading, and the report says so.
            before[-1].setdefault("gone_on", []).append(now)
            write_json(study.readings, before)
        else:
            _may_read(study, before, missing, again, incomplete)
            # Noted before it is done: a reading that is cut off is one.
            write_json(study.readings, [*before, {"at": now, "rows": len(wanted), "missing": missing}])
        progress("test", 0, len(new), "")
        for done, outcome in enumerate(outcomes(study, new, "test"), start=1):
            row = outcome.row
            if outcome.values is None:
                raise WorkFailed(f"{row.name}: {outcome.fault}")
            study.tests.append(row, {"settings": study.fingerprint(row), **outcome.values})
            progress("test", done, len(new), f"{row.arm}, {row.data}, k {row.k}, draw {row.draw}")
        return len(new)


def readings(study: Study) -> list[dict[str, Any]]:
    """Every time that the test part was read."""
    if not study.readings.exists():
        return []
    found: list[dict[str, Any]] = json.loads(study.readings.read_text(encoding="utf-8"))
    return found


def check_rows(study: Study, option: str) -> None:
    """Raise BadInput if there is no row yet: there is nothing to read, and a report would replace one with scores."""
    if not study.rows.read():
        todo = f"run the study first, without {option}"
        raise BadInput(study.output, "no row is there", got=0, wanted=len(wanted_rows(study.settings)), todo=todo)


def _may_read(study: Study, before: Sequence[object], missing: int, again: bool, incomplete: bool) -> None:
    if before and not again:
        raise BadInput(
            study.output,
            "its test data were read before",
            got=f"{len(before)} readings",
            todo="add --again to read them once more, which the report then says",
        )
    if missing and not incomplete:
        todo = "run the study to its end first, or add --incomplete, which the report then says"
        raise BadInput(study.output, "rows are missing", got=missing, wanted=0, todo=todo)
