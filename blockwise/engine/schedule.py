"""Which block may run next: decisions only, no input or output, no clock."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import daisy.v2 as daisy
import numpy as np
from funlib.geometry import Coordinate, Roi

from blockwise.grid import Grid, Voxels, as_voxels, pack, unpack


class StageState:
    """How far one stage of a schedule is."""

    def __init__(self, grid: Grid, skip: np.ndarray) -> None:
        if skip.shape != grid.counts:
            raise ValueError(f"the mask of done blocks is {skip.shape}, the grid {grid.counts}")
        self.grid = grid
        self.skip = skip
        self.total = grid.count
        self.skipped = int(np.count_nonzero(skip))
        self.done = 0
        """Blocks released as done."""
        self.given_up: list[int] = []
        """Blocks that failed as often as they may."""
        self.out: dict[int, Any] = {}
        """Blocks handed out and not released."""
        self.attempts: dict[int, int] = {}

    @property
    def left(self) -> int:
        """Blocks neither done, left out nor given up."""
        return self.total - self.skipped - self.done - len(self.given_up)


class Schedule:
    """Hands out the blocks of one stage, or of a chain of stages, that are not done; failed ones again, up to a limit.

    In a chain a block comes as soon as all blocks under what it reads are done in the stage before. `place` says which
    stage of the chain is meant. A context manager, used in one thread only: the scheduler inside panics when another
    thread touches it. Blocks of one stage do not wait for each other (they read one array and write another).
    """

    def __init__(
        self, grids: Sequence[Grid], done: Sequence[np.ndarray], max_attempts: int = 3, *, by_nearness: bool = False
    ) -> None:
        """done: (grid.counts) bool for each stage, blocks to leave out. All grids have the same blocks.

        by_nearness: the blocks of a single stage come so that those handed out one after the other lie in a cube.
        """
        if len({(grid.volume, grid.block) for grid in grids}) != 1:
            raise ValueError("the stages of a chain have the same blocks")
        self.stages = [StageState(grid, skip) for grid, skip in zip(grids, done, strict=True)]
        self._max_attempts = max_attempts
        self._order = grids[0].keys_by_nearness() if by_nearness and len(grids) == 1 else None
        self._scheduler: Any = None
        self._thread = 0

    def __enter__(self) -> Self:
        tasks = [self._task(place) for place in range(len(self.stages))]
        self._thread = threading.get_ident()
        pipeline = daisy.Pipeline(tasks, list(pairwise(tasks)))
        self._scheduler = daisy.Scheduler(pipeline)  # type: ignore[no-untyped-call]
        for state in self.stages:
            if not state.left:
                self._scheduler.acquire_block(
                    state.grid.stage
                )  # gives none, yet without it the next stage never begins
        return self

    def __exit__(self, *error: object) -> None:
        self._scheduler = None
        for state in self.stages:
            state.out.clear()

    @property
    def out(self) -> int:
        """Blocks handed out and not released."""
        return sum(len(state.out) for state in self.stages)

    @property
    def is_finished(self) -> bool:
        """Whether every block is done, left out, given up, or waits for one that is."""
        return all(not state.left or state.left == self._orphans(place) for place, state in enumerate(self.stages))

    def next_block(self, place: int = 0) -> int | None:
        """The key of a block that may run now; None if there is none at present."""
        self._check_thread()
        state = self.stages[place]
        block = self._scheduler.acquire_block(state.grid.stage)
        if block is None:
            return None
        index = as_voxels(block.write_roi.begin)
        key = pack(index) if self._order is None else int(self._order[index[0]])
        state.out[key] = block
        state.attempts[key] = state.attempts.get(key, 0) + 1
        return key

    def attempt(self, key: int, place: int = 0) -> int:
        """How often the block has been handed out."""
        return self.stages[place].attempts.get(key, 0)

    def release(self, key: int, ok: bool, place: int = 0) -> bool:
        """Take a block back; returns whether it will be handed out again. KeyError if it is not out."""
        self._check_thread()
        state = self.stages[place]
        block = state.out.pop(key)  # a second release would corrupt the scheduler's counts for ever
        block.status = daisy.BlockStatus.SUCCESS if ok else daisy.BlockStatus.FAILED
        self._scheduler.release_block(block)
        if ok:
            del state.attempts[key]
            state.done += 1
            return False
        if state.attempts[key] < self._max_attempts:
            return True
        state.given_up.append(key)
        return False

    def _task(self, place: int) -> Any:
        """The stage as the scheduler sees it: in whole blocks, so that no remainder at a border matters."""
        state = self.stages[place]
        skip = state.skip if self._order is None else state.skip[unpack(self._order)].reshape(-1, 1, 1)
        whole = Roi((0, 0, 0), skip.shape)
        step = Roi((0, 0, 0), (1, 1, 1))
        around = Coordinate(reach(state.grid) if place else (0, 0, 0))
        return daisy.Task(  # type: ignore[no-untyped-call]
            state.grid.stage,
            whole.grow(around, around),
            step.grow(around, around),
            step,
            read_write_conflict=False,
            fit="shrink",
            max_retries=self._max_attempts - 1,
            skip_mask=skip,
        )

    def _orphans(self, place: int) -> int:
        """Blocks that never come because one that they read was given up."""
        if not any(state.given_up for state in self.stages[:place]):
            return 0
        return int(self._scheduler.task_states[self.stages[place].grid.stage].orphaned_count)

    def _check_thread(self) -> None:
        if self._scheduler is None or threading.get_ident() != self._thread:
            raise RuntimeError("a schedule is used inside `with`, in one thread")


def reach(grid: Grid) -> Voxels:
    """Blocks on each side that a block reads from, the same on both sides.

    The scheduler loses blocks of a stage whose context is larger on one side (daisy 2.0.0), so the larger one counts.
    """
    context = zip(grid.context_low, grid.context_high, grid.block, strict=True)
    return as_voxels(-(-max(low, high) // step) for low, high, step in context)
