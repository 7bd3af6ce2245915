"""Run a study: the rows that are missing, one after the other or several at once."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from blockwise.cluster.open import open_cluster
from blockwise.engine.options import Progress
from blockwise.errors import BadInput, BlockwiseError, WorkFailed
from blockwise.files.locks import only_one
from blockwise.files.whole import check_folder, write_json
from contraband.experiments.study.arms import compute
from contraband.experiments.study.claims import digest
from contraband.experiments.study.rows import Row, RowValues, wanted_rows
from contraband.experiments.study.settings import StudySettings
from contraband.experiments.study.study import BUSY, Study

log = logging.getLogger(__name__)

SENDS = 3
"""A row whose worker dies is sent this often in all."""

Done = tuple[Row, RowValues | None, str]
"""A row with its values, or with what went wrong."""


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
        for done, (row, values, fault) in enumerate(_done(study, missing), start=1):
            if values is None:
                faults.append(f"{row.name}: {fault}")
            else:
                study.rows.append(row, {"settings": study.fingerprint(row), **values})
            progress("rows", before + done, len(wanted), f"{row.arm}, {row.data}, k {row.k}, draw {row.draw}")
        if faults:
            raise WorkFailed(f"{len(faults)} of {len(missing)} rows failed, the others are kept: {faults[0]}")
        return len(missing)


def _note_claims(study: Study) -> None:
    """Remember what was claimed before the first row."""
    if not study.claimed.exists():
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        write_json(study.claimed, {"digest": digest(study.settings), "at": now})


def _done(study: Study, rows: Sequence[Row]) -> Iterator[Done]:
    """Rows as they get done."""
    cluster = study.settings.cluster
    if not cluster.in_process and rows:
        yield from _on_workers(study, rows)
        return
    torch.set_num_threads(cluster.threads)
    for row in rows:
        yield _attempt(study, row)


def _on_workers(study: Study, rows: Sequence[Row]) -> Iterator[Done]:
    from distributed import as_completed

    plain = study.settings.model_dump(mode="json", by_alias=True)
    sent = dict.fromkeys(rows, 0)
    with open_cluster(study.settings.cluster) as client:

        def send(row: Row) -> Any:
            sent[row] += 1
            return client.submit(row_there, plain, row, pure=False, retries=0)

        out = {send(row): row for row in rows}
        waiting = as_completed(list(out), loop=client.loop)
        for future in waiting:
            row = out.pop(future)
            if future.status == "finished":
                yield future.result()
            elif sent[row] < SENDS:
                log.warning("%s: its worker was lost; sent again", row.name)
                again = send(row)
                out[again] = row
                waiting.add(again)
            else:
                yield row, None, f"its worker was lost {SENDS} times"


def row_there(plain: dict[str, Any], row: Row) -> Done:
    """On a worker: run one row."""
    settings = StudySettings.parse(plain, "study")
    torch.set_num_threads(settings.cluster.threads)
    return _attempt(Study(settings), row)


def _attempt(study: Study, row: Row) -> Done:
    try:
        return row, compute(study, row), ""
    except BlockwiseError as error:
        return row, None, str(error)
