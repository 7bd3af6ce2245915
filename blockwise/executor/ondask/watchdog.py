"""Ends this process when a block hangs: nothing else helps against code that never returns."""

from __future__ import annotations

import faulthandler
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache


class Watchdog:
    """Watches all threads of this process; the system's timer is set to the one that must end first.

    The timer strikes also while compiled code holds the interpreter: its signal (SIGALRM) writes the stack of every
    thread to stderr, which is the worker's log, and ends the process; the nanny starts a new one. Setting it takes
    a microsecond, so that the shortest block can afford it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[int, float] = {}
        faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)  # chain: and then as by default, to the end

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
            left = max(0.001, min(self._ends.values()) - time.monotonic()) if self._ends else 0
            signal.setitimer(signal.ITIMER_REAL, left)


@lru_cache(maxsize=1)
def watchdog() -> Watchdog:
    """The one of this process."""
    return Watchdog()
