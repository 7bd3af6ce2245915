"""Ctrl-C, or the end of a batch job, while a network is trained: no step is left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from blockwise.cluster.interrupts import SIGNALS


class Interruption:
    """While it is entered, the first signal raises KeyboardInterrupt between steps, the second wherever it comes.

    Between steps weights, their average and the optimiser belong together, so that they can be saved. Signals that are
    ignored stay so, and outside of the main thread, which no signal reaches, nothing changes.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came = 0
        self._is_in_step = False
        self.is_at_once = False
        """Whether a second one came, maybe in the middle of a step."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
        for number in self._before:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step: what comes within waits for its end."""
        self._is_in_step = True
        try:
            yield
        finally:
            self._is_in_step = False
        if self._came:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: object) -> None:
        self._came += 1
        self.is_at_once = self._came > 1
        if self.is_at_once or not self._is_in_step:
            raise KeyboardInterrupt


def ignore_interrupts(worker: int) -> None:  # noqa: ARG001 - what loaders call it with
    """In a loader process: a terminal or batch system tells all processes, and the training ends its own in order."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
