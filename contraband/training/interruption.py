"""Ctrl-C, or the end of a batch job, while a network is trained: no step is left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from blockwise.cluster.interrupts import SIGNALS, handled_by

UNHEARD = (signal.SIG_IGN, None)
"""Handlers of signals that are ignored, or that are another language's."""


class Interruption:
    """While it is heard, the first signal raises KeyboardInterrupt between steps, the second wherever it comes.

    Between steps weights, their average and the optimiser belong together, so that they can be saved.
    """

    def __init__(self) -> None:
        self._came = 0
        self._is_in_step = False
        self.is_at_once = False
        """Whether a second one came, maybe in the middle of a step."""

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Signals come here; those that are ignored stay so."""
        with handled_by(self._note, [number for number in SIGNALS if signal.getsignal(number) not in UNHEARD]):
            yield

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
