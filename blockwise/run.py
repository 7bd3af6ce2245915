"""A line of stages over a volume: checked, resumed, run block by block, reported."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from blockwise.errors import BlockwiseError, WorkFailed
from blockwise.executor.base import Executor
from blockwise.executor.work import describe, last_line
from blockwise.loop import Loop, Policy, Tally
from blockwise.preflight import Job, examine
from blockwise.stage import Stage, unpack
from blockwise.store.base import Failure, Store, mask_of

log = logging.getLogger(__name__)


class Progress(Protocol):
    """Is told how far each stage is."""

    def __call__(self, name: str, done: int, total: int, note: str = "") -> None: ...


@dataclass(frozen=True)
class StageResult:
    """What a run did for one stage, as report.json shows it.

    `blocks_*` and `wall_seconds` (time passed) are of this run. `voxels`, `cpu_seconds` and `peak_rss_bytes`
    are of all finished blocks, whichever run made them, so that CPU time a voxel stays right after a resume.
    """

    name: str
    blocks_done: int
    blocks_skipped: int
    """Done by earlier runs."""
    blocks_failed: int
    voxels: int
    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    context_inflation: float
    """Voxels read for each voxel written."""
    fingerprint: str


def run_stages(
    stages: Sequence[Stage],
    store: Store,
    executor: Executor,
    *,
    redo: str | None = None,
    redo_failed: bool = False,
    progress: Progress | None = None,
    max_attempts: int = 3,
    first_errors: int = 4,
    patience_s: float = 60.0,
    before: Sequence[Stage] | None = None,
    on_result: Callable[[StageResult], None] | None = None,
) -> list[StageResult]:
    """Run the stages in order, each to its end; blocks that are done are left alone.

    redo: this stage and all after it are made anew. redo_failed: blocks that were given up are tried again.
    before: the stages ahead of these, not run but checked to be finished with their present settings.
    on_result: is given every result at once, also that of a stage that fails or is interrupted.
    Raises BadInput or Stale before anything is written, WorkFailed if a stage cannot be ended.
    """
    flight = examine(stages, store, executor, redo=redo, before=before)
    for name in flight.clear:
        store.clear(name)
    policy = Policy(max_attempts, first_errors, patience_s)
    results: list[StageResult] = []

    def report(result: StageResult) -> None:
        results.append(result)
        if on_result is not None:
            on_result(result)

    for job in flight.jobs:
        _StageRun(job, store, executor, policy, progress, report).run(redo_failed)
    return results


class _StageRun:
    """One stage from its first block to `finish`."""

    def __init__(
        self, job: Job, store: Store, executor: Executor, policy: Policy, progress: Progress | None,
        report: Callable[[StageResult], None],
    ) -> None:
        self.job, self.store, self.executor, self.policy = job, store, executor, policy
        self.progress, self.report = progress, report
        self.name = job.stage.name
        self.begun_s = time.monotonic()
        self.loop = Loop(job, store, executor, policy, self.tell)
        self.skipped = 0
        self.given_up: dict[int, str] = {}

    def run(self, redo_failed: bool) -> None:
        """Do what is missing; the result is reported however it ends."""
        done = self.store.done_mask(self.name, self.job.grid, self.job.info.fingerprint)
        self.skipped = int(np.count_nonzero(done))
        try:
            self.tell(self.loop.tally)
            if not (done.all() and self.job.was_finished):
                self.work(done, redo_failed)
        finally:
            self.report(self.result())

    def work(self, done: np.ndarray, redo_failed: bool) -> None:
        """Prepare, process, finish."""
        self.store.put_stage(self.job.info)
        self.hook("prepare")
        if not redo_failed:
            self.given_up = {one.key: one.error for one in given_up(self.store, self.name, self.policy)}
        skip = done | mask_of(np.array(list(self.given_up), np.int64), self.job.grid)
        if not skip.all():
            for key in self.loop.run(skip):
                self.given_up[key] = self.loop.tally.errors[key]
        if self.given_up:
            raise failed_blocks(self.name, self.given_up)
        self.hook("finish")
        self.store.put_stage(replace(self.job.info, finished=True))
        log.info("%s: finished, %d blocks done, %d before", self.name, self.loop.tally.done, self.skipped)

    def hook(self, verb: str) -> None:
        """Call the stage's `prepare` or `finish`."""
        try:
            getattr(self.job.stage, verb)(self.store)
        except BlockwiseError:
            raise
        except Exception as error:
            text = describe(error)
            line = f"{self.name}: {verb} failed with {last_line(text)}; what is finished is kept"
            raised = WorkFailed(line)
            raised.add_note(text)
            raise raised from error

    def tell(self, tally: Tally) -> None:
        """Pass progress on."""
        if self.progress is not None:
            note = f"({len(tally.errors)} failed)" if tally.errors else ""
            self.progress(self.name, self.skipped + tally.done, self.job.grid.count, note)

    def result(self) -> StageResult:
        """What was done so far."""
        totals = self.store.totals(self.name)
        return StageResult(
            name=self.name,
            blocks_done=self.loop.tally.done,
            blocks_skipped=self.skipped,
            blocks_failed=len({*self.given_up, *self.loop.tally.errors}),
            voxels=totals.voxels,
            wall_seconds=time.monotonic() - self.begun_s,
            cpu_seconds=totals.cpu_seconds,
            peak_rss_bytes=totals.peak_rss_bytes,
            context_inflation=self.job.grid.inflation(),
            fingerprint=self.job.info.fingerprint,
        )


def given_up(store: Store, name: str, policy: Policy) -> list[Failure]:
    """Blocks that failed as often as they may in an earlier run."""
    return [one for one in store.failures(name) if one.attempt >= policy.max_attempts]


def failed_blocks(name: str, errors: dict[int, str], shown: int = 5) -> WorkFailed:
    """The error that names the blocks given up, and why."""
    places = ", ".join(str(unpack(key)) for key in sorted(errors)[:shown])
    more = f" and {len(errors) - shown} more" if len(errors) > shown else ""
    error = errors[min(errors)]
    raised = WorkFailed(
        f"{name}: {len(errors)} blocks failed, at (z, y, x) in blocks {places}{more}: {last_line(error)}; "
        "what is finished is kept; mend the cause and run again with --redo-failed"
    )
    raised.add_note(error)
    return raised
