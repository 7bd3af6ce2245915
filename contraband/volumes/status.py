"""What a run has done so far: the table of `status`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from blockwise.engine.preflight import stage_word
from blockwise.executor.work import last_line
from blockwise.stage import Stage
from contraband.volumes.run import opened_store
from contraband.volumes.settings import VolumeSettings


def status_rows(settings: VolumeSettings, line: Sequence[Stage]) -> list[dict[str, Any]]:
    """A row a stage: blocks in all, done, failed and the failures' last words; zeros where nothing ran yet."""
    if not store_exists(settings):
        return [_status_row(stage, 0, []) for stage in line]
    with opened_store(settings) as store:
        rows = []
        for stage in line:
            done = int(np.count_nonzero(store.done_mask(stage.name, stage.grid())))
            failures = [
                {"block": failure.key, "attempts": failure.attempt, "error": last_line(failure.error)}
                for failure in store.failures(stage.name)
            ]
            rows.append(_status_row(stage, done, failures))
        return rows


def store_exists(settings: VolumeSettings) -> bool:
    """Whether there is a store; True for a server, which is only asked when it is opened."""
    prefix = "sqlite:///"
    url = settings.store_url
    return not url.startswith(prefix) or Path(url.removeprefix(prefix)).exists()


def _status_row(stage: Stage, done: int, failures: list[dict[str, Any]]) -> dict[str, Any]:
    return {"stage": stage.name, "blocks": stage.grid().count, "done": done, "failures": failures}


def print_status(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The rows of `status_rows` as a table, failures below."""
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("blocks", "done", "failed", "state"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        failed = len(row["failures"])
        state = "done" if row["done"] >= row["blocks"] else "failed" if failed else f"{row['done'] / row['blocks']:.0%}"
        table.add_row(row["stage"], f"{row['blocks']:,}", f"{row['done']:,}", str(failed), state)
    console.print(table)
    for row in rows:
        for failure in row["failures"][:10]:
            console.print(f"{stage_word(row['stage'])}: block {failure['block']} failed: {failure['error']}")
