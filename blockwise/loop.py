"""The blocks of one stage: handed out, collected, marked as done, released, tried again."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from blockwise.errors import WorkFailed
from blockwise.executor.base import Executor, Outcome
from blockwise.executor.work import last_line
from blockwise.preflight import Job
from blockwise.schedule import Schedule
from blockwise.stage import Grid, unpack
from blockwise.store.base import Failure, Record, Store

log = logging.getLogger(__name__)

_POLL_S = 0.5


@dataclass(frozen=True)
class Policy:
    """How failures are met."""

    max_attempts: int = 3
    first_errors: int = 4
    """So many blocks that fail alike before any is done end the run: the code is broken, not the block."""
    patience_s: float = 60.0
    """How long a run waits with no worker alive."""


@dataclass
class Tally:
    """What became of the blocks in this run."""

    done: int = 0
    voxels: int = 0
    errors: dict[int, str] = field(default_factory=dict)
    """Last error of each block that failed and has not been done since."""


class Loop:
    """Runs the blocks that are not done: data written, then marked for good, then released."""

    def __init__(
        self, job: Job, store: Store, executor: Executor, policy: Policy, tell: Callable[[Tally], None]
    ) -> None:
        self.job, self.store, self.executor = job, store, executor
        self.policy, self.tell = policy, tell
        self.tally = Tally()

    def run(self, skip: np.ndarray) -> list[int]:
        """Process all blocks but those of the mask; returns those given up. What is done stays done."""
        with Schedule(self.job.grid, skip, self.policy.max_attempts) as schedule:
            self.executor.start(self.job.stage)
            try:
                self._run(schedule)
            except BaseException:
                with suppress(WorkFailed):
                    self._settle(schedule, self.executor.collect(0))
                raise
            finally:
                self.executor.cancel()
            return schedule.given_up

    def _run(self, schedule: Schedule) -> None:
        alive_s = time.monotonic()
        while not schedule.is_finished:
            self._hand_out(schedule)
            if not schedule.out:
                raise WorkFailed(f"{self.job.stage.name}: no block may run, yet not all are done")
            self._settle(schedule, self.executor.collect(_POLL_S))
            if self.executor.workers_alive():
                alive_s = time.monotonic()
            elif time.monotonic() - alive_s > self.policy.patience_s:
                raise WorkFailed(
                    f"{self.job.stage.name}: no worker is alive since {self.policy.patience_s:.0f} s; "
                    "what is finished is kept; see the workers' logs (memory?) and run again"
                )

    def _hand_out(self, schedule: Schedule) -> None:
        fresh: list[int] = []
        room = self.executor.capacity - schedule.out
        while room > 0 and (key := schedule.next_block()) is not None:
            room -= 1
            attempt = schedule.attempt(key)
            if attempt == 1:
                fresh.append(key)
            else:
                self.executor.submit(self.job.stage, [key], attempt)
        if fresh:
            self.executor.submit(self.job.stage, fresh, 1)

    def _settle(self, schedule: Schedule, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        name, digest = self.job.stage.name, self.job.info.fingerprint
        done = [outcome for outcome in outcomes if outcome.ok]
        failed = [outcome for outcome in outcomes if not outcome.ok]
        records = [
            Record(one.key, digest, voxels_of(self.job.grid, one.key), one.wall_seconds, one.cpu_seconds,
                   one.peak_rss_bytes)
            for one in done
        ]
        if records:
            self.store.mark(name, records)
        for record in records:
            schedule.release(record.key, True)
            self.tally.done += 1
            self.tally.voxels += record.voxels
            self.tally.errors.pop(record.key, None)
        if failed:
            self.store.fail(name, [Failure(one.key, schedule.attempt(one.key), one.error) for one in failed])
        for one in failed:
            attempt, again = schedule.attempt(one.key), schedule.release(one.key, False)
            self.tally.errors[one.key] = one.error
            log.warning(
                "%s: block %s failed, attempt %d, %s: %s", name, unpack(one.key), attempt,
                "tried again" if again else "given up", last_line(one.error),
            )
        self.tell(self.tally)
        self._check_first()

    def _check_first(self) -> None:
        """Raise WorkFailed if all of the first blocks failed alike."""
        errors = self.tally.errors
        if self.tally.done or len(errors) < self.policy.first_errors:
            return
        if len({signature(error) for error in errors.values()}) > 1:
            return
        error = next(iter(errors.values()))
        raised = WorkFailed(
            f"{self.job.stage.name}: the first {len(errors)} blocks all failed with {last_line(error)}; "
            "what is finished is kept; mend the cause and run again"
        )
        raised.add_note(error)
        raise raised


def voxels_of(grid: Grid, key: int) -> int:
    """Voxels in the write region of a block."""
    size = 1
    for place, step, end in zip(unpack(key), grid.block, grid.volume, strict=True):
        size *= min(step, end - place * step)
    return size


def signature(error: str) -> str:
    """An error without the numbers in it, so that the same fault in two blocks reads the same."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", last_line(error))
