"""The blocks of a stage, or of a chain of stages: handed out, collected, marked, released, tried again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from blockwise.cluster.interrupts import interruption_point
from blockwise.engine.failing import Failing, signature
from blockwise.engine.options import Policy
from blockwise.engine.preflight import Job
from blockwise.engine.schedule import Schedule
from blockwise.errors import WorkFailed
from blockwise.executor.base import Executor, Outcome
from blockwise.executor.work import last_line
from blockwise.files.traffic import Traffic
from blockwise.grid import Grid, unpack
from blockwise.store.base import Failure, Record, Store

log = logging.getLogger(__name__)

_POLL_S = 0.5
_SAY_S = 15.0


@dataclass
class Tally:
    """What became of the blocks of a stage in this run."""

    done: int = 0
    voxels: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    """Of all attempts that came back."""
    errors: dict[int, str] = field(default_factory=dict)
    """Last error of each block that failed and has not been done since."""


class Loop:
    """Runs the blocks that are not done: data written, then marked for good, then released.

    Of several stages each block runs as soon as those that it reads are marked; later stages go first.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        tallies: Sequence[Tally],
        store: Store,
        executor: Executor,
        policy: Policy,
        on_change: Callable[[int, Sequence[Outcome]], None],
    ) -> None:
        """on_change: is called with the place of the stage whose tally has changed, and what its blocks came to."""
        self.jobs = tuple(jobs)
        self.tallies = tuple(tallies)
        self.store = store
        self.executor = executor
        self.policy = policy
        self.on_change = on_change
        self.failing = Failing()
        self._places = {job.stage.name: place for place, job in enumerate(self.jobs)}

    def run(self, skip: Sequence[np.ndarray]) -> list[list[int]]:
        """Process all blocks but those of the masks; returns those given up of each stage. What is done stays done."""
        by_nearness = any(job.stage.shares_chunks() for job in self.jobs)
        grids = [job.grid for job in self.jobs]
        with Schedule(grids, skip, self.policy.max_attempts, by_nearness=by_nearness) as schedule:
            self.executor.start(*(job.stage for job in self.jobs))
            try:
                self._run(schedule)
            except BaseException:
                with suppress(WorkFailed):
                    self._settle(schedule, self.executor.collect(0))
                raise
            finally:
                self.failing.say_counts()
                self.executor.cancel()
            return [state.given_up for state in schedule.stages]

    def _run(self, schedule: Schedule) -> None:
        name = self.jobs[-1].stage.name
        alive_s = time.monotonic()
        said_s = alive_s
        while not schedule.is_finished:
            for place in reversed(range(len(self.jobs))):
                self._hand_out(schedule, place)
            if not schedule.out:
                raise WorkFailed(f"{name}: no block may run, yet not all are done")
            pairs = zip(self.jobs, schedule.stages, strict=True)
            self.executor.expect({job.stage.name: state.left for job, state in pairs})
            self._settle(schedule, self.executor.collect(_POLL_S))
            interruption_point()
            if self.executor.workers_alive():
                alive_s = time.monotonic()
                said_s = alive_s
                continue
            waited_s = time.monotonic() - alive_s
            if waited_s > self.policy.patience_s:
                raise WorkFailed(
                    f"{name}: no worker has been alive for {self.policy.patience_s:.0f} s; "
                    "what is finished is kept; see the workers' logs (memory?) and run again"
                )
            if time.monotonic() - said_s >= _SAY_S:
                said_s = time.monotonic()
                log.warning("%s: no worker has been alive for %.0f s", name, waited_s)

    def _hand_out(self, schedule: Schedule, place: int) -> None:
        stage = self.jobs[place].stage
        fresh: list[int] = []
        room = self.executor.capacity(stage) - len(schedule.stages[place].out)
        while room > 0 and (key := schedule.next_block(place)) is not None:
            room -= 1
            attempt = schedule.attempt(key, place)
            if attempt == 1:
                fresh.append(key)
            else:
                self.executor.submit(stage, [key], attempt)
        if fresh:
            self.executor.submit(stage, fresh, 1)

    def _settle(self, schedule: Schedule, outcomes: Sequence[Outcome]) -> None:
        def place_of(outcome: Outcome) -> int:
            return self._places[outcome.stage]

        for place, some in groupby(sorted(outcomes, key=place_of), key=place_of):
            self._settle_stage(schedule, place, list(some))

    def _settle_stage(self, schedule: Schedule, place: int, outcomes: Sequence[Outcome]) -> None:
        job, tally = self.jobs[place], self.tallies[place]
        records = [record(job, one) for one in outcomes if one.ok]
        if records:
            self.store.mark(job.stage.name, records)
        for marked in records:
            schedule.release(marked.key, True, place)
            tally.done += 1
            tally.voxels += marked.voxels
            tally.errors.pop(marked.key, None)
        tally.traffic = sum((one.traffic for one in outcomes if one.traffic), tally.traffic)
        self._settle_failed(schedule, place, [one for one in outcomes if not one.ok])
        self.on_change(place, outcomes)
        self._check_first(place)

    def _settle_failed(self, schedule: Schedule, place: int, failed: Sequence[Outcome]) -> None:
        if not failed:
            return
        interruption_point()  # it may be all that has failed
        name = self.jobs[place].stage.name
        self.store.fail(name, [Failure(one.key, schedule.attempt(one.key, place), one.error) for one in failed])
        for one in failed:
            attempt = schedule.attempt(one.key, place)
            again = schedule.release(one.key, False, place)
            self.tallies[place].errors[one.key] = one.error
            self.failing.say(name, one.key, f"attempt {attempt}, {'tried again' if again else 'given up'}", one.error)

    def _check_first(self, place: int) -> None:
        """Raise WorkFailed if all of the first blocks failed alike."""
        tally = self.tallies[place]
        errors = tally.errors
        if tally.done or len(errors) < self.policy.first_errors:
            return
        if len({signature(error) for error in errors.values()}) > 1:
            return
        error = next(iter(errors.values()))
        raised = WorkFailed(
            f"{self.jobs[place].stage.name}: the first {len(errors)} blocks all failed with {last_line(error)}; "
            "what is finished is kept; fix the cause and run again"
        )
        raised.add_note(error)
        raise raised


def record(job: Job, outcome: Outcome) -> Record:
    """What the store keeps of a finished block."""
    return Record(
        outcome.key,
        job.info.fingerprint,
        voxels_of(job.grid, outcome.key),
        outcome.wall_seconds,
        outcome.cpu_seconds,
        outcome.peak_rss_bytes,
    )


def voxels_of(grid: Grid, key: int) -> int:
    """Voxels in the write region of a block."""
    size = 1
    for place, step, end in zip(unpack(key), grid.block, grid.volume, strict=True):
        size *= min(step, end - place * step)
    return size
