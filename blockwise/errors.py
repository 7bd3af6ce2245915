"""Everything that is raised on purpose.

BlockwiseError
├── BadInput        what the user gave cannot work; nothing was written (exit code 2)
│   └── OutOfReach  a server does not answer, at least from here
├── Stale           finished blocks were made with other settings or inputs (exit code 2)
└── WorkFailed      the work itself failed; what is finished is kept (exit code 1)
"""

from __future__ import annotations

import logging
from pathlib import Path

OUTCOME = {"is_outcome": True}
"""Marks what is logged of a block that failed: it stands in the block's log, and goes back with the block."""


def is_outcome(record: logging.LogRecord) -> bool:
    """Whether the record only says how a block ended, which the driver hears, counts and says itself."""
    return getattr(record, "is_outcome", False)


class BlockwiseError(Exception):
    """Base of all errors raised on purpose; its text is one line for the user."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of the way through our code: the line, and above it what a block has raised."""
        return [*getattr(self, "__notes__", ()), f"{type(self).__name__}: {self}"]


class BadInput(BlockwiseError):
    """Input that cannot work, found before anything was written.

    The text reads `where: what; got X, wanted Y; todo`.
    """

    exit_code = 2

    def __init__(self, where: object, what: str, *, got: object = None, wanted: object = None, todo: str = "") -> None:
        clauses = [f"{where}: {what}"]
        if got is not None or wanted is not None:
            clauses.append(f"got {got}, wanted {wanted}" if wanted is not None else f"got {got}")
        if todo:
            clauses.append(todo)
        super().__init__(one_line("; ".join(clauses)))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), str(self)))


class OutOfReach(BadInput):
    """A server does not answer, at least from this machine."""


class Stale(BadInput):
    """Finished blocks were made with other settings, code or inputs than the run asks for."""


class WorkFailed(BlockwiseError):
    """Some blocks could not be finished; everything reported as done is kept."""


def one_line(text: str) -> str:
    """The text with every run of white space, line breaks included, made one space."""
    return " ".join(text.split())


def looked_for(path: Path) -> str:
    """For messages on a missing file: what a relative path is relative to; nothing for a whole one."""
    if path.is_absolute():
        return ""
    try:
        return f"; paths are relative to the working folder, {Path.cwd()}"
    except OSError:
        return "; paths are relative to the working folder, which is gone"


def _rebuild(kind: type[BadInput], text: str) -> BadInput:
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error
