"""An executor that says what it is working on."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from blockwise.executor.base import Executor, Outcome
from blockwise.stage import Stage


class Watched:
    """An executor that passes everything on to another, and remembers which blocks are there."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._out: dict[str, set[int]] = defaultdict(set)
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """All that is not watched is that of the other executor."""
        return getattr(self._executor, name)

    def running(self) -> dict[str, list[int]]:
        """The blocks of each stage that were handed out and have not come back, those that wait at a worker too.

        May be called by any thread.
        """
        with self._lock:
            return {name: sorted(keys) for name, keys in self._out.items() if keys}

    def start(self, *stages: Stage) -> None:
        """Nothing is out."""
        self._forget()
        self._executor.start(*stages)

    def submit(self, stage: Stage, keys: Sequence[int], attempt: int) -> None:
        """They are out."""
        with self._lock:
            self._out[stage.name].update(keys)
        self._executor.submit(stage, keys, attempt)

    def collect(self, timeout_s: float) -> list[Outcome]:
        """They are back."""
        outcomes = self._executor.collect(timeout_s)
        with self._lock:
            for one in outcomes:
                self._out[one.stage].discard(one.key)
        return outcomes

    def cancel(self) -> None:
        """Nothing is out any more."""
        self._forget()
        self._executor.cancel()

    def _forget(self) -> None:
        with self._lock:
            self._out.clear()
