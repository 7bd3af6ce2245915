"""The facts about a run as a table on a terminal, and as text for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from blockwise.engine.preflight import stage_word

if TYPE_CHECKING:
    from rich.console import Console

    from contraband.volumes.monitor.facts import Facts

WATCH_S = 2.0
MOST_LOST = 5
"""So many lost workers are printed, the last ones."""


def print_status(console: Console, rows: Sequence[Mapping[str, Any]], lost: Sequence[Mapping[str, Any]]) -> None:
    """The rows of `Facts.stages` as a table; below it what has changed, is gone, has failed or was lost.

    lost: workers, as `Facts.lost_workers` gives them.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    is_moving = any(row["rate"] for row in rows)
    for name in ("blocks", "done", "failed", "state", *(("blocks/s", "left") if is_moving else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        moving = (f"{row['rate']:.3g}" if row["rate"] else "", duration(row["left_s"])) if is_moving else ()
        counts = (f"{row['blocks']:,}", f"{row['done']:,}", f"{row['failed']:,}")
        table.add_row(row["stage"], *counts, row["state"], *moving)
    console.print(table)
    for row in rows:
        if row["gone"]:
            console.print(f"{row['stage']}: {', '.join(row['gone'])} is gone")
        if row["changes"]:
            console.print(f"{row['stage']}: stale, {row['changes']}")
        for failure in row["failures"][:10]:
            console.print(f"{stage_word(row['stage'])}: block {failure['block']} failed: {failure['error']}")
    for one in lost[-MOST_LOST:]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["at"]))
        console.print(f"{at} worker {one['worker']} was lost: {one['how']}", markup=False, highlight=False)


def watched(facts: Facts, wait: Callable[[float], None] = time.sleep) -> Iterator[list[dict[str, Any]]]:
    """The rows now and every two seconds, until all is done."""
    while True:
        rows = facts.stages()
        yield rows
        if all(row["state"] == "done" for row in rows):
            return
        wait(WATCH_S)


def duration(seconds: float | None) -> str:
    """As people say it: 40 s, 12 min, 3.5 h."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def as_prometheus(rows: Sequence[Mapping[str, Any]], lost: int) -> str:
    """The rows in the text format of Prometheus, a sample for each stage; and how many workers were lost."""
    metrics = (
        ("blocks", "gauge", "Blocks in all.", "blocks"),
        ("blocks_done", "gauge", "Finished blocks.", "done"),
        ("blocks_running", "gauge", "Blocks at workers, if the run goes on in this process.", "running"),
        ("blocks_failed", "gauge", "Blocks that failed and have not been done since.", "failed"),
        ("blocks_stale", "gauge", "Blocks made with other settings or inputs.", "stale"),
        ("voxels_done", "gauge", "Voxels of the finished blocks.", "voxels"),
        ("block_seconds", "gauge", "Time of the finished blocks, summed.", "block_seconds"),
        ("peak_rss_bytes", "gauge", "Most memory that a finished block took.", "peak_rss_bytes"),
    )
    lines = []
    for name, kind, text, key in metrics:
        lines += [f"# HELP contraband_{name} {text}", f"# TYPE contraband_{name} {kind}"]
        lines += [f'contraband_{name}{{stage="{row["stage"]}"}} {row[key]}' for row in rows]
    name = "contraband_workers_lost_total"
    lines += [f"# HELP {name} Workers lost by all runs into this output.", f"# TYPE {name} counter", f"{name} {lost}"]
    return "\n".join(lines) + "\n"
