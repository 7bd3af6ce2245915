"""What a run has done so far: the table of `status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from blockwise.engine.preflight import stage_word
from blockwise.engine.standing import Standing, standings
from blockwise.executor.work import last_line
from blockwise.stage import Stage
from blockwise.store import empty_store
from contraband.volumes.belonging import find_belonging, is_store_there
from contraband.volumes.run import absolute, opened_store
from contraband.volumes.settings import VolumeSettings


def status_rows(settings: VolumeSettings, line: Sequence[Stage]) -> list[dict[str, Any]]:
    """A row a stage: blocks in all, done, failed and the failures' last words, what changed since and what is gone."""
    placed = [absolute(stage) for stage in line]
    if not is_store_there(settings.store_url):
        return [_row(one) for one in standings(placed, empty_store())]
    belonging = find_belonging(settings)
    with opened_store(settings, next(iter(belonging.lost), belonging.identity)) as store:
        return [_row(one) for one in standings(placed, store)]


def _row(standing: Standing) -> dict[str, Any]:
    return {
        "stage": standing.stage.name,
        "blocks": standing.stage.grid().count,
        "done": standing.done,
        "state": standing.state,
        "changes": standing.changes,
        "gone": [str(path) for path in standing.gone],
        "failures": [
            {"block": failure.key, "attempts": failure.attempt, "error": last_line(failure.error)}
            for failure in standing.failures
        ],
    }


def print_status(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The rows of `status_rows` as a table; below it what has changed, is gone or has failed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("blocks", "done", "failed", "state"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        failed = str(len(row["failures"]))
        table.add_row(row["stage"], f"{row['blocks']:,}", f"{row['done']:,}", failed, row["state"])
    console.print(table)
    for row in rows:
        if row["gone"]:
            console.print(f"{row['stage']}: {', '.join(row['gone'])} is gone")
        if row["changes"]:
            console.print(f"{row['stage']}: stale, {row['changes']}")
        for failure in row["failures"][:10]:
            console.print(f"{stage_word(row['stage'])}: block {failure['block']} failed: {failure['error']}")
