"""Where the viewer of a run is, left beside the run's arrays, so that other pages can lead there."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from contraband.volumes.output import Output

ADDRESS = re.compile(r"https?://[\w.:\[\]-]+/view/\w+/")
_ANSWER_S = 1.0


@contextmanager
def left_in(output: Output, address: str) -> Iterator[None]:
    """Leave the address for as long as the viewer is there; not where the output is somebody else's.

    Only its user can read it: who knows the address sees the volume.
    """
    note = output.viewer
    written = f"{address}\n"
    with suppress(OSError):
        note.unlink(missing_ok=True)
        with os.fdopen(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(written)
    try:
        yield
    finally:
        if _read(note) == written:  # else another viewer has come since
            with suppress(OSError):
                note.unlink(missing_ok=True)


def running_viewer(output: Output) -> str | None:
    """The address of a viewer that answers; None where there is none, or one that was killed has left its note."""
    address = _read(output.viewer).strip()
    if not ADDRESS.fullmatch(address):
        return None
    try:
        with urllib.request.urlopen(address, timeout=_ANSWER_S):  # noqa: S310 - http or https, as was checked
            return address
    except (OSError, ValueError):
        return None


def _read(note: Path) -> str:
    try:
        return note.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
