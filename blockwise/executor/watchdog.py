"""Ends this process when a block hangs: nothing else helps against code that never returns."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache


class Watchdog:
    """Watches all threads of this process; the system's alarm is set to the one that must end first.

    The alarm is a thread outside of Python: it strikes also while compiled code holds the interpreter. It writes the
    stack of every thread to stderr, which is the worker's log, and ends the process; the nanny starts a new one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[int, float] = {}

    @contextmanager
    def bounded(self, seconds: float | None) -> Iterator[None]:
        """What is inside must end within so many seconds; None: any time."""
        if seconds is None:
            yield
            return
        thread = threading.get_ident()
        self._set(thread, time.monotonic() + seconds)
        try:
            yield
        finally:
            self._set(thread, None)

    def _set(self, thread: int, end: float | None) -> None:
        with self._lock:
            if end is None:
                self._ends.pop(thread, None)
            else:
                self._ends[thread] = end
            if not self._ends:
                faulthandler.cancel_dump_traceback_later()
                return
            left = max(0.001, min(self._ends.values()) - time.monotonic())
            faulthandler.dump_traceback_later(left, exit=True)


@lru_cache(maxsize=1)
def watchdog() -> Watchdog:
    """The one of this process."""
    return Watchdog()
