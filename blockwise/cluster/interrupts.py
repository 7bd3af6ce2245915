"""Ctrl-C while workers start: it waits until they can be ended in order, and does not reach them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)
"""What ends a command in order: a terminal's, and those of batch systems. SLURM (`--signal`) and SGE (`-notify`) send
the last two some time before they kill; SIGXCPU means that a job's processor time is over."""


@contextmanager
def deferred() -> Iterator[None]:
    """A signal that comes within this is handled at its end, so is a second one; the third at once.

    A cluster that is half started cannot be closed: its processes would be left to notice the end of this one, with
    tracebacks.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handlers: dict[int, Any] = {number: handler for number, handler in before.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread():  # signals are for the main thread only
        handlers = {}
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) > 2:
            for _ in came[1:]:
                with suppress(KeyboardInterrupt):
                    handlers[number](number, frame)
            handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, note)
    try:
        yield
    except Exception:
        if not came:  # else what failed may have been interrupted too
            raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        handlers[came[0]](came[0], None)


@contextmanager
def not_inherited() -> Iterator[None]:
    """Threads that are started within this, and processes that these start, never see Ctrl-C at a terminal.

    It goes to all processes of the terminal, and would end a worker that has only begun to load with a traceback.
    """
    from multiprocessing import resource_tracker

    # Started by the first process that is spawned, in its thread, which then takes Ctrl-C again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
