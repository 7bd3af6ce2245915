"""Which block may run next: decisions only, no input or output, no clock."""

from __future__ import annotations

import threading
from typing import Any, Self

import daisy.v2 as daisy
import numpy as np
from funlib.geometry import Roi

from blockwise.stage import Grid, pack


class Schedule:
    """Hands out the blocks of one stage that are not done, and again those that failed, up to a limit.

    A context manager, used in one thread only: the scheduler inside panics when another thread touches it.
    Blocks of a stage do not wait for each other (they read one array and write another), so the scheduler
    sees them without context; a grid's context is cut off at the volume's border by `Grid.block_at`.
    """

    def __init__(self, grid: Grid, done: np.ndarray, max_attempts: int = 3) -> None:
        """done: (grid.counts) bool, blocks to leave out."""
        if done.shape != grid.counts:
            raise ValueError(f"the mask of done blocks is {done.shape}, the grid {grid.counts}")
        self._grid = grid
        self._max_attempts = max_attempts
        self._skip = done
        self._out: dict[int, Any] = {}
        self._attempts: dict[int, int] = {}
        self._scheduler: Any = None
        self._thread = 0
        self.total = grid.count
        self.skipped = int(np.count_nonzero(done))
        self.done = 0
        """Blocks released as done."""
        self.given_up: list[int] = []
        """Blocks that failed as often as they may."""

    def __enter__(self) -> Self:
        grid = self._grid
        step = Roi((0, 0, 0), grid.block)
        task = daisy.Task(  # type: ignore[no-untyped-call]
            grid.stage, Roi((0, 0, 0), grid.volume), step, step, read_write_conflict=False, fit="shrink",
            max_retries=self._max_attempts - 1, skip_mask=self._skip,
        )
        self._thread = threading.get_ident()
        self._scheduler = daisy.Scheduler(task)  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        self._scheduler = None
        self._out.clear()

    @property
    def out(self) -> int:
        """Blocks handed out and not released."""
        return len(self._out)

    @property
    def is_finished(self) -> bool:
        """Whether every block is done, left out or given up."""
        return self.skipped + self.done + len(self.given_up) == self.total

    def next_block(self) -> int | None:
        """The key of a block that may run now; None if all are out or finished."""
        self._check_thread()
        block = self._scheduler.acquire_block(self._grid.stage)
        if block is None:
            return None
        begin = block.write_roi.begin
        z, y, x = (int(at) // step for at, step in zip(begin, self._grid.block, strict=True))
        key = pack((z, y, x))
        self._out[key] = block
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return key

    def attempt(self, key: int) -> int:
        """How often the block has been handed out."""
        return self._attempts.get(key, 0)

    def release(self, key: int, ok: bool) -> bool:
        """Take a block back; returns whether it will be handed out again. KeyError if it is not out."""
        self._check_thread()
        block = self._out.pop(key)  # a second release would corrupt the scheduler's counts for ever
        block.status = daisy.BlockStatus.SUCCESS if ok else daisy.BlockStatus.FAILED
        self._scheduler.release_block(block)
        if ok:
            del self._attempts[key]
            self.done += 1
            return False
        if self._attempts[key] < self._max_attempts:
            return True
        self.given_up.append(key)
        return False

    def _check_thread(self) -> None:
        if self._scheduler is None or threading.get_ident() != self._thread:
            raise RuntimeError("a schedule is used inside `with`, in one thread")
