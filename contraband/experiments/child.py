"""A process that lives no longer than the one that began it, however that one ends."""

from __future__ import annotations

import os
import threading


def end_with_parent() -> None:
    """End this process as soon as its standard input ends: a pipe whose other end the parent holds and never writes to.

    A parent killed with -9 closes it as well, and no other way of noticing works on every system.
    """
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock the end of the interpreter waits for
        pass
    os._exit(1)
