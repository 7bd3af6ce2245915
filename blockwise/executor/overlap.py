"""Blocks of a stage one after the other; where the stage allows it, files are read and written meanwhile."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from blockwise.errors import OUTCOME
from blockwise.executor.base import Outcome
from blockwise.executor.blocklog import block_log
from blockwise.executor.memory import enter
from blockwise.executor.work import describe, last_line, peak_rss_bytes, reset_peak_rss, run_block
from blockwise.files.traffic import meter
from blockwise.grid import Block, Grid, unpack
from blockwise.stage import Overlapping, Stage
from blockwise.store import Store

log = logging.getLogger(__name__)

WRITERS = 2
"""Blocks that are written at once: compressing and flushing one takes longer than a GPU needs for the next."""


def run_blocks(
    stage: Stage, grid: Grid, keys: Iterable[int], store: Store, *, alone: bool = True
) -> Generator[Outcome]:
    """Process the blocks in order; each comes back once it is done or has failed.

    keys: one is taken when its turn comes, or a block earlier if it is read ahead. All that were taken come back,
    unless this iterator is closed before.
    alone: no other block runs in this process, so that the CPU time of all threads belongs to these.
    """
    if isinstance(stage, Overlapping):
        with ThreadPoolExecutor(1, "load") as reader, ThreadPoolExecutor(WRITERS, "save") as writer:
            yield from _Overlap(stage, grid, reader, writer, alone).run(iter(keys))
        return
    for key in keys:
        yield run_block(stage, grid, key, store, alone=alone)


@dataclass(frozen=True)
class _Step:
    """What a step of a block came to: a value, or the text of an error."""

    value: Any
    error: str
    cpu_seconds: float
    """Of the thread it ran in."""


class _Overlap:
    """While a block is computed the next is read and the last ones are written; no more are held.

    The times of a block are what it adds to those of all: they sum up to the time that passed.
    """

    def __init__(
        self, stage: Overlapping, grid: Grid, reader: ThreadPoolExecutor, writer: ThreadPoolExecutor, alone: bool
    ) -> None:
        self.stage = stage
        self.grid = grid
        self.reader = reader
        self.writer = writer
        self.alone = alone
        self.wall_s = time.perf_counter()
        self.cpu_s = time.process_time()

    def run(self, keys: Iterator[int]) -> Iterator[Outcome]:
        """The blocks, in order."""
        enter(self.stage.name)
        behind: deque[tuple[Outcome, Future[_Step] | None]] = deque()
        ahead = self.read(keys)
        while ahead is not None:
            reset_peak_rss()
            (block, loading), ahead = ahead, self.read(keys)
            behind.append(self.compute(block, loading.result()))
            del loading  # and with it what was read
            while len(behind) > WRITERS:
                yield self.written(*behind.popleft())
        while behind:
            outcome = self.written(*behind.popleft())
            yield outcome if behind else self.timed(outcome, outcome.cpu_seconds)

    def read(self, keys: Iterator[int]) -> tuple[Block, Future[_Step]] | None:
        """Begin to read the next block; None if there is none."""
        for key in keys:
            block = self.grid.block_at(key)
            return block, self.reader.submit(_attempt, self.stage.load, block)
        return None

    def compute(self, block: Block, loaded: _Step) -> tuple[Outcome, Future[_Step] | None]:
        """Compute and begin to write."""
        step = loaded if loaded.error else _attempt(self.stage.compute, block, loaded.value)
        outcome = Outcome(block.key, not step.error, step.error, stage=self.stage.name)
        outcome = self.timed(outcome, loaded.cpu_seconds + step.cpu_seconds)
        return outcome, None if step.error else self.writer.submit(_attempt, self.stage.save, block, step.value)

    def written(self, outcome: Outcome, saving: Future[_Step] | None) -> Outcome:
        """The outcome after the block has been written."""
        if saving is None:
            return replace(outcome, traffic=meter().take())
        step = saving.result()
        cpu = outcome.cpu_seconds if self.alone else outcome.cpu_seconds + step.cpu_seconds
        return replace(outcome, ok=not step.error, error=step.error, cpu_seconds=cpu, traffic=meter().take())

    def timed(self, outcome: Outcome, cpu_seconds: float) -> Outcome:
        """The outcome with the time that has passed since this was last asked added to it.

        cpu_seconds: its own, if there are other blocks in this process.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        spent = (wall - self.wall_s, cpu - self.cpu_s)
        self.wall_s = wall
        self.cpu_s = cpu
        return replace(
            outcome,
            wall_seconds=outcome.wall_seconds + spent[0],
            peak_rss_bytes=peak_rss_bytes(),
            cpu_seconds=outcome.cpu_seconds + spent[1] if self.alone else cpu_seconds,
        )


def _attempt(step: Callable[..., Any], block: Block, *more: Any) -> _Step:
    cpu = time.thread_time()
    value = None
    error = ""
    try:
        with block_log().of_block(block.stage, block.key):
            value = step(block, *more)
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # user code may call sys.exit, and extensions panic
        error = describe(raised)
        with block_log().of_block(block.stage, block.key):
            log.warning("%s: block %s failed: %s", block.stage, unpack(block.key), last_line(error), extra=OUTCOME)
    return _Step(value, error, time.thread_time() - cpu)
