"""What rows ask for, computed in this process or, several at once, on the workers of a cluster."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from blockwise.cluster.open import open_cluster
from blockwise.errors import BlockwiseError
from blockwise.files.whole import write_json
from contraband.experiments.study import arms
from contraband.experiments.study.rows import Row, RowValues
from contraband.experiments.study.settings import StudySettings
from contraband.experiments.study.study import Study
from contraband.models.hardware import choose_device

log = logging.getLogger(__name__)

SENDS = 3
"""A row whose worker dies is sent this often in all."""

Work = Literal["learn", "test"]
"""Learn and score on the validation part; or score what has learnt on the test part."""


@dataclass(frozen=True)
class RowDone:
    """A row with its values, or with what went wrong."""

    row: Row
    values: RowValues | None = None
    fault: str = ""
    device: str = ""
    """What it was computed on, in words."""


def outcomes(study: Study, rows: Sequence[Row], work: Work) -> Iterator[RowDone]:
    """Rows as they get done. What computed them is kept with the study before anything is made of the first."""
    cluster = study.settings.cluster
    if cluster.in_process or not rows:
        torch.set_num_threads(cluster.threads)
        found: Iterator[RowDone] = (_attempt(study, row, work) for row in rows)
    else:
        found = _on_workers(study, rows, work)
    for outcome in found:
        _note_device(study.devices, outcome.device)
        yield outcome


def _on_workers(study: Study, rows: Sequence[Row], work: Work) -> Iterator[RowDone]:
    from distributed import as_completed

    plain = json.dumps(study.settings.model_dump(mode="json", by_alias=True))
    sent = dict.fromkeys(rows, 0)
    place = {row: number for number, row in enumerate(rows)}
    with open_cluster(study.settings.cluster) as client:

        def send(row: Row) -> Any:
            sent[row] += 1
            # In their order, which Dask does not keep for what is sent at about the same time: a study that is cut off
            # shall be balanced.
            return client.submit(row_there, plain, row, work, pure=False, retries=0, priority=-place[row])

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
                yield RowDone(row, fault=f"its worker was lost {SENDS} times")


def row_there(plain: str, row: Row, work: Work) -> RowDone:
    """On a worker: one row of the study whose settings are given as JSON."""
    return _attempt(_opened(plain), row, work)


@lru_cache(maxsize=1)
def _opened(plain: str) -> Study:
    """The study as a worker keeps it from row to row, with the data that it has read."""
    settings = StudySettings.parse(json.loads(plain), "study")
    torch.set_num_threads(settings.cluster.threads)
    return Study(settings)


def _attempt(study: Study, row: Row, work: Work) -> RowDone:
    done: Mapping[Work, Callable[[Study, Row], RowValues]] = {"learn": arms.compute, "test": arms.tested}
    try:
        return RowDone(row, done[work](study, row), device=_device())
    except BlockwiseError as error:
        return RowDone(row, fault=str(error))


def _device() -> str:
    """What trainings in this process run on: rows of two kinds differ by rounding, and their seconds by much more."""
    if choose_device("auto").type == "cuda":
        return torch.cuda.get_device_name()
    return f"a processor ({platform.machine()})"


def _note_device(path: Path, device: str) -> None:
    known = devices_of(path)
    if device and device not in known:
        write_json(path, [*known, device])


def devices_of(path: Path) -> list[str]:
    """Everything that rows were computed on, as it was noted; none where an earlier version ran them."""
    return [str(one) for one in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []
