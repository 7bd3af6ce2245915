"""How far a run or a training is, shown wherever it is watched: a terminal, a notebook, a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from blockwise.cluster.interrupts import heard

if TYPE_CHECKING:
    from blockwise.engine.options import Progress

PLAIN_SECONDS = 5.0
"""In a log, a line no more often."""
CELL_SECONDS = 0.25
"""In a notebook, a picture no more often."""
INTERRUPTED = "interrupted; what is finished is kept, and the same call goes on from there"


class Display(Protocol):
    """Where progress and remarks are shown."""

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        """Say that `done` of `total` are done of what is called `name`."""

    def say(self, line: str) -> None:
        """A remark that is not a result."""


@contextmanager
def meter(unit: str) -> Iterator[Display]:
    """A display of counts, in `unit`: bars on a terminal, text below the cell of a notebook, else plain lines."""
    if in_notebook():
        cell = ProgressCell(unit)
        try:
            yield cell
        finally:
            cell.show()
    elif sys.stderr.isatty():
        with _bars(unit) as bars:
            yield bars
    else:
        yield ProgressLines(unit)


@contextmanager
def shown(progress: bool | Progress, unit: str, goes_on: bool = True) -> Iterator[Display]:
    """A display as the caller wants it: True for `meter`, False for none, or a function that is told instead.

    goes_on: what is interrupted goes on when it is called again, which a notebook then says. Interrupts are heard.
    """
    if progress is not True:
        with heard():
            yield ProgressListener(progress or None)
        return
    with meter(unit) as display:
        try:
            with heard():
                yield display
        except KeyboardInterrupt:
            if goes_on and isinstance(display, ProgressCell):
                display.say(INTERRUPTED)
            raise


def say(line: str) -> None:
    """A remark for people that is not a result: a line on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class ProgressListener:
    """Passes progress on to a function, or to nobody; remarks go to the log."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        """Pass it on."""
        if self._progress is not None:
            self._progress(name, done, total, note)

    def say(self, line: str) -> None:
        """Log it."""
        import logging

        logging.getLogger(__name__).info("%s", line)


class Rates:
    """How fast each named count grows."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._begun: dict[str, tuple[float, int]] = {}

    def of(self, name: str, done: int) -> float:
        """Units a second since the name was first heard of."""
        now = time.monotonic()
        begin, first = self._begun.setdefault(name, (now, done))
        return (done - first) / (now - begin) if now > begin else 0.0

    def began_at(self, name: str) -> int:
        """How many were done when the name was first heard of."""
        return self._begun[name][1]

    def line(self, name: str, done: int, total: int, note: str) -> str:
        """The state of one count in a line."""
        rate = self.of(name, done)
        text = "done before" if self.began_at(name) >= total else f"{rate:.3g} {self.unit}/s {note}".rstrip()
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        return f"{name}: {done} of {total} {self.unit}, {text}{left}"


class ProgressLines:
    """A plain line now and then, for logs."""

    def __init__(self, unit: str) -> None:
        self._rates = Rates(unit)
        self._next: dict[str, float] = {}
        """When a line of the name is due; infinity after its last."""

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        """Write a line if one is due, and when all is done."""
        now = time.monotonic()
        line = self._rates.line(name, done, total, note)
        due = self._next.setdefault(name, now + PLAIN_SECONDS)
        if due == float("inf") or (done < total and now < due):
            return
        self._next[name] = float("inf") if done >= total else now + PLAIN_SECONDS
        say(line)

    def say(self, line: str) -> None:
        """Write it."""
        say(line)


@contextmanager
def _bars(unit: str) -> Iterator[Display]:
    """ProgressBars on a terminal, which is free again afterwards."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        Remaining(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield ProgressBars(unit, bars)


class ProgressBars:
    """A bar for each count."""

    def __init__(self, unit: str, bars: Any) -> None:
        self._rates = Rates(unit)
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        """Move its bar."""
        text = f"{self._rates.of(name, done):.3g} {self._rates.unit}/s {note}".rstrip()
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, rate=text)
        self._bars.update(self._tasks[name], completed=done, total=total, rate=text)

    def say(self, line: str) -> None:
        """Write it above the bars."""
        say(line)


class ProgressCell:
    """A line for each count below the cell of a notebook, replaced in place."""

    def __init__(self, unit: str) -> None:
        self._rates = Rates(unit)
        self._lines: dict[str, str] = {}
        self._shown_s = 0.0
        self._handle: Any = None

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        """Note it, and show it unless something was shown a moment ago."""
        self._lines[name] = self._rates.line(name, done, total, note)
        if done >= total or time.monotonic() - self._shown_s >= CELL_SECONDS:
            self.show()

    def say(self, line: str) -> None:
        """Show it as a line of its own."""
        self._lines[line] = line
        self.show()

    def show(self) -> None:
        """Replace what stands below the cell."""
        from IPython.display import display

        self._shown_s = time.monotonic()
        text = {"text/plain": "\n".join(self._lines.values())}
        if self._handle is None:
            self._handle = display(text, raw=True, display_id=True)
        else:
            self._handle.update(text, raw=True)
