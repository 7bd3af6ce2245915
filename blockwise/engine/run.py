"""A line of stages over a volume: checked, resumed, run block by block, reported."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from blockwise.cluster.interrupts import between_blocks, heard, interruption_point
from blockwise.engine.loop import Loop, Tally
from blockwise.engine.options import Chain, Policy, RunOptions, StageResult
from blockwise.engine.preflight import Job, Preflight, check_outputs, check_stages, examine, substage_job
from blockwise.errors import BlockwiseError, WorkFailed
from blockwise.executor.base import Executor
from blockwise.executor.work import describe, last_line
from blockwise.files.objects import size_below
from blockwise.files.traffic import Traffic, meter
from blockwise.grid import unpack
from blockwise.stage import Stage
from blockwise.store.base import Failure, Store, mask_of

log = logging.getLogger(__name__)

OBJECTS_ASKED_AFTER = 20_000
"""Of an array, for the ratio in the report: names come a thousand a request."""


def run_stages(
    stages: Sequence[Stage], store: Store, executor: Executor, options: RunOptions | None = None
) -> list[StageResult]:
    """Check the stages and run them in order; blocks that are done are left alone. A result for each stage.

    Raises BadInput or Stale before anything is written, WorkFailed if a stage cannot be ended, and KeyboardInterrupt;
    what is finished is kept, and the same call goes on.

    Example:
        with InProcess(store) as executor:
            results = run_stages([first, second], store, executor, RunOptions(redo="second"))
    """
    options = options or RunOptions()
    check_stages(stages)
    with heard():
        return run_examined(examine(stages, store, executor, options), store, executor, options)


def run_examined(flight: Preflight, store: Store, executor: Executor, options: RunOptions) -> list[StageResult]:
    """Run what was examined; raises WorkFailed if a stage cannot be ended."""
    flight.growth.take_over(flight.clear, options.announce)
    results: list[StageResult] = []

    def report(result: StageResult) -> None:
        results.append(result)
        if options.on_result is not None:
            options.on_result(result)

    with heard(), between_blocks():
        for jobs in chains(flight.jobs, options.chain):
            runs = [_StageRun(job, store, options) for job in jobs]
            try:
                _run_chain(runs, executor)
            finally:
                for run in runs:
                    if run.has_begun:
                        report(run.result())
    return results


def chains(jobs: Sequence[Job], chain: Chain = "auto") -> list[list[Job]]:
    """The stages that run together: those that follow each other block by block, if that is wanted.

    With "auto" only where it keeps more workers busy: where the stages need different ones, as with GPUs.
    """
    groups: list[list[Job]] = []
    for job in jobs:
        if groups and job.stage.follows and _same_blocks(job, groups[-1][-1]) and chain is not False:
            groups[-1].append(job)
        else:
            groups.append([job])
    if chain is True:
        return groups
    apart = []
    for group in groups:
        differ = any(job.stage.resources() != group[0].stage.resources() for job in group)
        apart += [group] if differ else [[job] for job in group]
    return apart


def _same_blocks(one: Job, other: Job) -> bool:
    return (one.grid.volume, one.grid.block) == (other.grid.volume, other.grid.block)


def _run_chain(runs: Sequence[_StageRun], executor: Executor) -> None:
    """Prepare, process and finish the stages; in a chain, all are prepared first and finished last."""
    # Blocks of a later stage start as soon as those that they read are done, so everything is prepared before the
    # first.
    todo = []
    for run in runs:
        run.begin()
        if not run.is_finished:
            run.prepare()
            todo.append(run)
            if run.given_up:
                break  # what follows would read blocks that are not there
            _run_substages(run, run.substages(), executor)
    while _run_blocks(todo, executor):
        log.info("%s: blocks that were given up are tried again", todo[0].name)
    # In order, and raising at the first that cannot be finished: a finished stage never has an unfinished one ahead.
    for run in todo:
        _run_substages(run, run.closing(), executor)
        run.finish()


def _run_substages(run: _StageRun, substages: Iterable[_StageRun], executor: Executor) -> None:
    for substage in substages:
        _run_chain([substage], executor)
        run.driver += substage.tally.traffic + substage.driver


def _run_blocks(todo: Sequence[_StageRun], executor: Executor) -> bool:
    """Process what is left of the stages; whether blocks given up were forgiven meanwhile, so that there is more."""
    # If all blocks are done already, the executor is not even asked.
    if todo and not all(run.skip.all() for run in todo):
        first = todo[0]
        loop = Loop(
            [run.job for run in todo],
            [run.tally for run in todo],
            first.store,
            executor,
            first.options.policy,
            lambda place, _: todo[place].show_progress(),
        )
        # Given up is told when the loop is through: all other blocks are done by then, and need not be done again.
        for run, keys in zip(todo, loop.run([run.skip for run in todo]), strict=True):
            run.given_up |= {key: run.tally.errors[key] for key in keys}
    is_forgiven = [run.take_back_forgiven() for run in todo]
    if any(is_forgiven):
        for run in todo:
            run.look_again()
    return any(is_forgiven)


class _StageRun:
    """One stage from its first block to `finish`."""

    def __init__(self, job: Job, store: Store, options: RunOptions) -> None:
        self.job = job
        self.store = store
        self.options = options
        self.name = job.stage.name
        self.begun_s = time.monotonic()
        self.tally = Tally()
        self.has_begun = False
        self.skip = np.zeros(job.grid.counts, bool)
        self.skipped = 0
        self.given_up: dict[int, str] = {}
        self.driver = Traffic()
        """Of what the driver did for the stage, and of its substages."""
        self.read_ratio: float | None = None

    def begin(self) -> None:
        """Find out what is done."""
        self.has_begun = True
        self.skip = self.store.done_mask(self.name, self.job.grid, self.job.info.fingerprint)
        self.skipped = int(np.count_nonzero(self.skip))
        self.show_progress()

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, once it has begun."""
        return bool(self.skip.all()) and self.job.was_finished

    def prepare(self) -> None:
        """Make the outputs, and leave out blocks that were given up."""
        self.store.put_stage(self.job.info)
        self.hook("prepare")
        check_outputs(self.job.stage)
        if not self.options.redo_failed:
            self.given_up = {one.key: one.error for one in given_up(self.store, self.name, self.options.policy)}
        self.skip = self.skip | mask_of(np.array(list(self.given_up), np.int64), self.job.grid)

    def take_back_forgiven(self) -> bool:
        """Whether blocks given up in this run have no failure in the store any more: somebody wants another try."""
        own = self.given_up.keys() & self.tally.errors.keys()
        forgiven = own - {one.key for one in self.store.failures(self.name)} if own else set()
        for key in forgiven:
            del self.given_up[key], self.tally.errors[key]
        return bool(forgiven)

    def look_again(self) -> None:
        """Leave out what is done by now, and what is given up."""
        done = self.store.done_mask(self.name, self.job.grid, self.job.info.fingerprint)
        self.skip = done | mask_of(np.array(list(self.given_up), np.int64), self.job.grid)

    def substages(self) -> Iterator[_StageRun]:
        """The substages ahead of the stage's blocks, if blocks are left, each when the one before is finished."""
        return iter(()) if self.skip.all() else self.asked_for("substages")

    def closing(self) -> Iterator[_StageRun]:
        """The substages behind the stage's blocks, if all are done, each when the one before is finished."""
        return iter(()) if self.given_up else self.asked_for("closing")

    def asked_for(self, verb: str) -> Iterator[_StageRun]:
        """What the stage's `substages` or `closing` gives."""
        found = iter(self.hook(verb))
        while (substage := self.call(lambda: next(found, None), verb)) is not None:
            job = substage_job(self.job, substage, self.store)
            # A single block is done as soon as it could be told of.
            options = self.options if job.grid.count > 1 else replace(self.options, progress=None)
            yield _StageRun(job, self.store, options)

    def finish(self) -> None:
        """End the stage; raises WorkFailed if blocks were given up."""
        if self.given_up:
            raise failed_blocks(self.name, self.given_up)
        self.hook("finish")
        self.read_ratio = self.ratio()
        self.store.put_stage(replace(self.job.info, finished=True))
        log.info("%s: finished, %d blocks done, %d before", self.name, self.tally.done, self.skipped)

    def hook(self, verb: str) -> Any:
        """Call the stage's `prepare`, `substages`, `closing` or `finish`."""
        return self.call(lambda: getattr(self.job.stage, verb)(self.store), verb)

    def call(self, work: Callable[[], Any], verb: str) -> Any:
        """Do some of the stage's work in the driver; raises WorkFailed if it raises anything unforeseen."""
        meter().take()  # of whatever was done before, for no stage
        try:
            done = work()
            self.driver += meter().take() or Traffic()
            interruption_point()
            return done
        except BlockwiseError:
            raise
        except Exception as error:
            interruption_point()
            text = describe(error)
            line = f"{self.name}: {verb} failed with {last_line(text)}; what is finished is kept"
            raised = WorkFailed(line)
            raised.add_note(text)
            raise raised from error

    def show_progress(self) -> None:
        """Pass progress on."""
        if self.options.progress is not None:
            note = f"({len(self.tally.errors)} failed)" if self.tally.errors else ""
            self.options.progress(self.name, self.skipped + self.tally.done, self.job.grid.count, note)

    def ratio(self) -> float | None:
        """Bytes read of chunks for each byte that these arrays have at their addresses, in the blocks done now."""
        read = self.tally.traffic.arrays
        known = [size for address in read if (size := size_below(address, OBJECTS_ASKED_AFTER)) is not None]
        stored = sum(known) * self.tally.done / self.job.grid.count
        return sum(read.values()) / stored if stored and len(known) == len(read) else None

    def result(self) -> StageResult:
        """What was done so far."""
        totals = self.store.totals(self.name)
        substages = [
            self.store.totals(info.name) for info in self.store.stages() if info.name.startswith(f"{self.name}/")
        ]
        return StageResult(
            name=self.name,
            blocks_done=self.tally.done,
            blocks_skipped=self.skipped,
            blocks_failed=len({*self.given_up, *self.tally.errors}),
            voxels=totals.voxels,
            wall_seconds=time.monotonic() - self.begun_s,
            cpu_seconds=totals.cpu_seconds + sum(one.cpu_seconds for one in substages),
            peak_rss_bytes=max([totals.peak_rss_bytes, *(one.peak_rss_bytes for one in substages)]),
            context_inflation=self.job.grid.inflation(),
            fingerprint=self.job.info.fingerprint,
            traffic=self.tally.traffic + self.driver,
            read_ratio=self.read_ratio,
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
        "what is finished is kept; fix the cause and run again with --redo-failed"
    )
    raised.add_note(error)
    return raised
