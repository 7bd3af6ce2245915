"""Ctrl-C: it waits while workers start, does not reach them, and is not lost where Python can only print it."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from blockwise.errors import BlockwiseError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2)
"""What ends a command in order: a terminal's, and those of batch systems. SLURM (`--signal`) and SGE (`-notify`) send
the last two some time before they kill; SIGXCPU means that a job's processor time is over."""

AGAIN_S = 0.05
"""So soon an interrupt is raised again that Python has only printed: then the object that went is gone."""
PATIENCE_S = 2.0
"""So long an interrupt waits for the end of a block: most blocks, and all that libraries do at once, are shorter."""

log = logging.getLogger(__name__)


@contextmanager
def handled_by(handler: Callable[[int, Any], None], numbers: Iterable[int]) -> Iterator[None]:
    """These signals go to this handler, and to those from before at the end, unless somebody has taken one meanwhile.

    Outside of the main thread, which no signal reaches, nothing changes.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers} if is_main else {}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, old)


def _handlers() -> dict[int, Callable[[int, Any], Any]]:
    """Those of Python, by signal: what is ignored, or left to the system, is nobody's to handle."""
    found = {number: signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in found.items() if callable(handler)}


@dataclass
class _Heard:
    """What is known of interrupts while somebody listens."""

    listeners: int = 0
    patient: int = 0
    """How many of them have said that they ask between blocks."""
    has_come: bool = False
    aside: list[tuple[Any, tuple[float, float]]] = field(default_factory=list)
    """The alarm of whoever calls, and its handler, while ours is set."""


_heard = _Heard()


@contextmanager
def heard() -> Iterator[None]:
    """An interrupt that comes within this ends it, whatever library it falls into.

    Its KeyboardInterrupt is raised wherever Python is at that moment. What runs when an object goes only prints it:
    then it is raised again soon, the caller's alarm set aside for that moment. Compiled code may take it for a failure
    of what it called, and raise an error of its own: any unforeseen error after an interrupt ends in KeyboardInterrupt.
    Does nothing outside the main thread, where no interrupt comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    elsewhere = sys.unraisablehook

    def swallowed(found: sys.UnraisableHookArgs) -> None:
        if issubclass(found.exc_type, KeyboardInterrupt):
            _heard.has_come = True
            _raise_in(AGAIN_S)
        elif _heard.has_come:  # a library that was left in the middle of something
            log.info("ignored after an interrupt: %s: %s", found.exc_type.__name__, found.exc_value)
        else:
            elsewhere(found)

    sys.unraisablehook = swallowed
    try:
        with _noting():
            yield
    except (BlockwiseError, OSError):
        raise
    except Exception as error:
        if _heard.has_come:
            raise KeyboardInterrupt from error
        raise
    finally:
        sys.unraisablehook = elsewhere
        if not _heard.listeners:
            _heard.has_come = False
        if _heard.aside:  # it has no time to come again
            _give_back()
            raise KeyboardInterrupt


@contextmanager
def between_blocks() -> Iterator[None]:
    """Within `heard`: interrupts wait for the next `interruption_point`, or for `PATIENCE_S`; the second does not.

    Raised in the middle of what a store or a library does, now and then they left it with a lock that nobody gives
    back, or ended the process with a fault of memory.
    """
    own = int(threading.current_thread() is threading.main_thread())
    _heard.patient += own
    try:
        yield
    finally:
        _heard.patient -= own


def interruption_point() -> None:
    """Raise KeyboardInterrupt if one came within `heard` that waits, or that a library has lost."""
    if _heard.has_come and threading.current_thread() is threading.main_thread():
        if _heard.aside:
            _give_back()
        raise KeyboardInterrupt


@contextmanager
def _noting() -> Iterator[None]:
    """Signals are handled as before, and those that interrupt are noted."""
    handlers = {} if _heard.listeners else _handlers()

    def note(number: int, frame: Any) -> None:
        try:
            handlers[number](number, frame)
        except KeyboardInterrupt:
            is_second, _heard.has_come = _heard.has_come, True
            if is_second or not _heard.patient:
                raise
            _raise_in(PATIENCE_S)

    with handled_by(note, handlers):
        _heard.listeners += 1
        try:
            yield
        finally:
            _heard.listeners -= 1


def _raise_in(seconds: float) -> None:
    if not _heard.aside:
        _heard.aside.append((signal.getsignal(signal.SIGALRM) or signal.SIG_DFL, signal.getitimer(signal.ITIMER_REAL)))
    signal.signal(signal.SIGALRM, _again)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _again(*_: object) -> None:
    _give_back()
    raise KeyboardInterrupt


def _give_back() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    handler, alarm = _heard.aside.pop()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *alarm)


@contextmanager
def deferred() -> Iterator[None]:
    """A signal that comes within this is handled at its end, so is a second one; the third at once.

    A cluster that is half started cannot be closed: its processes would be left to notice the end of this one, with
    tracebacks.
    """
    handlers = _handlers()
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) > 2:
            for _ in came[1:]:
                with suppress(KeyboardInterrupt):
                    handlers[number](number, frame)
            handlers[number](number, frame)

    try:
        with handled_by(note, handlers):
            yield
    except Exception:
        if not came:  # else what failed may have been interrupted too
            raise
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
