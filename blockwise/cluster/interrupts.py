"""Ctrl-C: it waits while workers start, does not reach them, and is not lost where Python can only print it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)
"""What ends a command in order: a terminal's, and those of batch systems. SLURM (`--signal`) and SGE (`-notify`) send
the last two some time before they kill; SIGXCPU means that a job's processor time is over."""

AGAIN_S = 0.05


@contextmanager
def heard() -> Iterator[None]:
    """KeyboardInterrupt is raised again soon where Python only prints it, as in what runs when an object goes.

    A run lets many objects go, so that a Ctrl-C now and then would be lost, and the run go on. The alarm of whoever
    calls is set aside for that moment. Does nothing outside the main thread, where no interrupt comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    elsewhere = sys.unraisablehook
    aside: list[tuple[Any, tuple[float, float]]] = []

    def swallowed(found: sys.UnraisableHookArgs) -> None:
        if not issubclass(found.exc_type, KeyboardInterrupt):
            elsewhere(found)
            return
        if not aside:
            aside.append((signal.getsignal(signal.SIGALRM) or signal.SIG_DFL, signal.getitimer(signal.ITIMER_REAL)))
        signal.signal(signal.SIGALRM, again)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)

    def again(*_: object) -> None:
        give_back()
        raise KeyboardInterrupt

    def give_back() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        handler, alarm = aside.pop()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *alarm)

    sys.unraisablehook = swallowed
    try:
        yield
    finally:
        sys.unraisablehook = elsewhere
        if aside:  # it has no time to come again
            give_back()
            raise KeyboardInterrupt


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
def handlers_kept() -> Iterator[None]:
    """What is imported within changes no signal's handler; dask_jobqueue would end the process at Ctrl-C as if done."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)


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
