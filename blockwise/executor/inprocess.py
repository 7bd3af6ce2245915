"""Blocks one after the other in this process: for small volumes, tests and debuggers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self
from uuid import uuid4

from blockwise.executor.base import Outcome
from blockwise.executor.blocklog import block_log
from blockwise.executor.overlap import run_blocks
from blockwise.executor.workerlog import note_given
from blockwise.files.recent import recent
from blockwise.grid import Grid
from blockwise.stage import Stage
from blockwise.store import Store, open_store


class InProcess:
    """Processes blocks inside `collect`, in the order in which they were submitted.

    Example:
        with InProcess(store) as executor:
            run_stages([stage], store, executor)
    """

    def __init__(self, store: str | Store) -> None:
        self._own = isinstance(store, str)
        self._store: Store = open_store(store) if isinstance(store, str) else store
        self._queue: deque[tuple[Stage, Grid, int]] = deque()
        self._running: Generator[Outcome] | None = None
        self._ended: list[Outcome] = []
        self._capacity = 64
        self._logs: Path | None = None

    def check(self, stage: Stage) -> None:
        """This process is taken to have what any stage needs."""

    def keep_logs(self, folder: Path) -> None:
        """Keep what is logged within blocks in this folder."""
        self._logs = folder
        block_log().into(folder)

    def capacity(self, stage: Stage) -> int:
        """Some, as one after the other is processed; few in a chain, so that the next stage has its turn."""
        return self._capacity

    def start(self, *stages: Stage) -> None:
        """Begin with nothing out."""
        self.cancel()
        self._capacity = 64 if len(stages) == 1 else 4
        recent().begin(uuid4().hex if any(stage.shares_chunks() for stage in stages) else "")

    def expect(self, left: Mapping[str, int]) -> None:
        """There is one process, whatever is left."""

    def submit(self, stage: Stage, keys: Sequence[int], attempt: int) -> None:
        """Queue the blocks."""
        grid = stage.grid()
        self._queue.extend((stage, grid, key) for key in keys)
        if self._logs is not None:
            note_given(self._logs, stage.name, "", keys)

    def collect(self, timeout_s: float) -> list[Outcome]:
        """Process blocks until the time is over or none is left; at least one if there is any time."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self._running is None:
                if not self._queue:
                    break
                stage, grid, _ = self._queue[0]
                self._running = run_blocks(stage, grid, self._take(stage), self._store)
            outcome = next(self._running, None)
            if outcome is None:
                self._running = None
            else:
                self._ended.append(outcome)
        ended, self._ended = self._ended, []
        return ended

    def workers_alive(self) -> int:
        """This process."""
        return 1

    def cancel(self) -> None:
        """Forget what is queued; what is being written is written to its end."""
        recent().begin("")
        if self._running is not None:
            self._running.close()
            self._running = None
        self._queue.clear()
        self._ended.clear()

    def _take(self, stage: Stage) -> Iterator[int]:
        """The blocks at the head of the queue that are of this stage."""
        while self._queue and self._queue[0][0] is stage:
            yield self._queue.popleft()[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.cancel()
        block_log().into(None)
        if self._own:
            self._store.close()
