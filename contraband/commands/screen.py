"""What the commands share: consoles, progress, the last JSON line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

SettingsFile = Annotated[Path, typer.Argument(help="Settings of the volume, a YAML file.", metavar="VOLUME.yaml")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in segment.thresholds=[0.4].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object last.")]

PLAIN_SECONDS = 5.0


def console() -> Console:
    """Where people read: stdout; wide enough for every table where the width is not a terminal's."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def emit(as_json: bool, data: dict[str, Any]) -> None:
    """The last line for programs, if it is wanted."""
    if as_json:
        typer.echo(json.dumps(data, allow_nan=False, default=str))


class Meter:
    """Progress of several named counts: bars on a terminal, a plain line now and then elsewhere."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.live = sys.stderr.isatty()
        self.bars = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            Remaining(),
            console=Console(stderr=True),
        )
        self.tasks: dict[str, TaskID] = {}
        self.begun: dict[str, tuple[float, int]] = {}
        self.said: dict[str, float] = {}

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        """Say that `done` of `total` are done."""
        now = time.monotonic()
        begin, first = self.begun.setdefault(name, (now, done))
        rate = (done - first) / (now - begin) if now > begin else 0.0
        text = f"{rate:.3g} {self.unit}/s {note}".rstrip()
        if self.live:
            task = self.tasks.get(name)
            if task is None:
                task = self.tasks[name] = self.bars.add_task(name, total=total, rate=text)
            self.bars.update(task, completed=done, total=total, rate=text)
        elif done >= total or now - self.said.get(name, begin) >= PLAIN_SECONDS:
            if self.said.get(name) == -1.0:
                return
            self.said[name] = -1.0 if done >= total else now
            if first >= total:
                text = "done before"
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
            typer.echo(f"{name}: {done} of {total} {self.unit}, {text}{left}", err=True)


@contextmanager
def meter(unit: str) -> Iterator[Meter]:
    """A progress display that is gone from the terminal's control afterwards."""
    display = Meter(unit)
    if not display.live:
        yield display
        return
    with display.bars:
        yield display


def warn(line: str) -> None:
    """A remark for the user that is not a result."""
    typer.echo(line, err=True)
