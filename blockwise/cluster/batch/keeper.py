"""Keeps the jobs of a run up: submits, watches, replaces and cancels them, in the thread of the Dask scheduler."""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from blockwise.cluster.batch.keeping import BatchJob, Fate, Keeping, ending
from blockwise.cluster.batch.queue import NoAnswer, ask_queue, call
from blockwise.cluster.batch.scripts import GROUPS, group_sizes, job_class, options, walltime_s
from blockwise.errors import one_line

if TYPE_CHECKING:
    from blockwise.cluster.settings import Cluster

log = logging.getLogger(__name__)

_STEP_S = 0.5
_ASK_S = 2.0
_ASK_AT_MOST_S = 30.0
"""The batch system is asked this often while something changes, and ever more rarely while nothing does."""
_AT_ONCE = 8
"""Jobs that are submitted at the same time."""
_TOGETHER = 500
"""Jobs that are cancelled by one command."""
_STOP_S = 90.0
_ENOUGH_S = 60.0
"""So much work each worker of a range has left at least."""


class Keeper:
    """The jobs of one run. Made and stopped by the driver, which may ask it at any time; works in Dask's thread.

    Example:
        keeper = Keeper(cluster, settings)
        keeper.start()
        ...
        keeper.stop()
    """

    def __init__(self, cluster: Any, settings: Cluster) -> None:
        """cluster: of dask-jobqueue, with a scheduler and no jobs of its own."""
        self.walltime_s = walltime_s(settings)
        self._cluster = cluster
        self._settings = settings
        self._sizes = group_sizes(settings)
        self._keeping = Keeping(settings.kind, {group: least for group, (least, _) in self._sizes.items()})
        self._serial = 0
        self._told: set[str] = set()
        """Workers whose loss has been asked for."""
        self._running: asyncio.Task[None] | None = None
        self._stops = False
        self._ask_s = _ASK_S
        self._asked_s = float("-inf")
        self._silent_since_s: float | None = None

    def start(self) -> None:
        """Begin; the first jobs are submitted at once."""

        async def begin() -> None:
            self._running = asyncio.create_task(self._run())

        self._wait(begin())

    def stop(self) -> None:
        """Submit nothing more, and cancel every job that is left."""
        with suppress(TimeoutError):
            self._wait(self._stop())

    def over(self) -> str:
        """Why no worker will come any more, in the batch system's words; nothing as long as one may."""
        return self._keeping.over()

    def promises(self, needed: Mapping[str, float]) -> bool:
        """Whether workers with these resources are there, or will come."""
        return any(self._keeping.promises(group) for group in self._groups_with(needed))

    def fate(self, name: str) -> Fate | None:
        """What became of a worker that is gone; None as long as that may still be found out."""
        return self._keeping.fate(time.monotonic(), name)

    def losses(self) -> dict[str, str]:
        """The workers whose jobs have ended since this was asked last, though they were wanted, and how these ended."""
        found = {
            job.name: f"job {job.number} ended: {ending(job.state)}"
            for job in list(self._keeping.jobs.values())
            if job.state.phase == "ended" and job.came and not job.is_released and job.name not in self._told
        }
        self._told.update(found)
        return found

    def release(self, names: Sequence[str]) -> None:
        """These workers are of no use any more, as their jobs soon end: they are replaced."""
        for name in names:
            self._keeping.release(name)

    def follow(self, left: Mapping[str, float]) -> None:
        """Keep as many workers as have work for a minute each. left: seconds of work, by group."""
        for group, (least, most) in self._sizes.items():
            if most > least:
                useful = int(left.get(group, 0.0) / (_ENOUGH_S * self._settings.threads)) + 1
                self._keeping.want(group, max(least, min(most, useful)))

    def _groups_with(self, needed: Mapping[str, float]) -> list[str]:
        names = {name for name, amount in needed.items() if amount > 0}
        if not names:
            return list(GROUPS)
        return [group for group in GROUPS if names == {group} and needed[group] <= 1]

    def _wait(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._cluster.loop.asyncio_loop).result(_STOP_S)

    async def _run(self) -> None:
        while not self._stops:
            try:
                await self._step()
            except Exception:  # a slip of ours must not leave a run without workers and without a word
                log.exception("keeper")
                await asyncio.sleep(_ASK_S)
            await asyncio.sleep(_STEP_S)

    async def _step(self) -> None:
        keeping = self._keeping
        workers = {str(worker.name): worker for worker in self._cluster.scheduler.workers.values()}
        if keeping.note_workers(time.monotonic(), workers):
            self._ask_s = _ASK_S
        await self._look()
        for line in keeping.to_say(time.monotonic()):
            log.warning("%s", line)
        scheduler = self._cluster.scheduler
        busy = [name for name, worker in workers.items() if is_busy(scheduler, worker)]
        useless = keeping.to_cancel(time.monotonic(), busy)
        # Before anything else has its turn here: what is idle now stays so.
        for name, worker in workers.items():
            if keeping.is_released(name):
                close_to_tasks(scheduler, worker)
        await self._cancel(useless)
        for group, count in keeping.to_submit(time.monotonic()).items():
            await self._submit(group, count)

    async def _look(self) -> None:
        """Ask the batch system, if it is time."""
        now_s = time.monotonic()
        unsettled = self._keeping.unsettled()
        if now_s - self._asked_s < self._ask_s or not unsettled:
            return
        is_restless = self._keeping.is_restless()
        self._asked_s = now_s
        self._ask_s = min(_ASK_AT_MOST_S, self._ask_s * (1.2 if is_restless else 2.0))
        try:
            states = await ask_queue(self._settings.kind, [job.number for job in unsettled])
        except NoAnswer as error:
            if self._silent_since_s is None:
                self._silent_since_s = now_s
                log.warning("cluster: %s does not say how its jobs are (%s)", self._settings.kind, error)
            return
        self._silent_since_s = None
        before = len(unsettled)
        self._keeping.note_states(now_s, states)
        if len(self._keeping.unsettled()) < before:
            self._ask_s = _ASK_S

    async def _submit(self, group: str, count: int) -> None:
        """Submit some jobs; the rest has its turn in the next step, when the first may have been refused."""
        self._ask_s = _ASK_S
        await asyncio.gather(*(self._submit_one(group) for _ in range(min(count, _AT_ONCE))))

    async def _submit_one(self, group: str) -> None:
        self._serial += 1
        name = f"{self._settings.kind}-{group.lower()}{self._serial}"
        address = self._cluster.scheduler_address
        kind = job_class(self._settings.kind)
        given = {**self._cluster.new_spec["options"], **options(self._settings, group, address)}
        try:
            job = kind(address, name=name, **given)
            await job
        except (OSError, RuntimeError, ValueError) as error:
            self._keeping.refused(time.monotonic(), group, words_of(error))
            return
        self._keeping.submitted(BatchJob(name, group, str(job.job_id), time.monotonic()))

    async def _cancel(self, jobs: Sequence[BatchJob]) -> list[str]:
        """Cancel jobs; returns the numbers of those for which the batch system gave no answer."""
        command = shlex.split(job_class(self._settings.kind).cancel_command)
        failed = []
        for begin in range(0, len(jobs), _TOGETHER):
            numbers = [job.number for job in jobs[begin : begin + _TOGETHER]]
            try:
                await call([*command, *numbers])
            except NoAnswer:
                failed += numbers
        return failed

    async def _stop(self) -> None:
        self._stops = True
        if self._running is not None:  # a job that is just being submitted must be known before it can be cancelled
            await self._running
        left = self._keeping.unsettled()
        failed = await self._cancel(left)
        if failed:
            log.warning("jobs %s could not be cancelled; they end by themselves", " ".join(failed[:20]))


def is_busy(scheduler: Any, worker: Any) -> bool:
    """Whether a worker has tasks, what they returned, or a task on its way from another one. Both: Dask's states."""
    stealing = scheduler.extensions.get("stealing")
    return bool(worker.processing or worker.has_what or (stealing and stealing.in_flight_tasks[worker] > 0))


def close_to_tasks(scheduler: Any, worker: Any) -> None:
    """Have Dask give no more tasks to a worker that is about to go; it goes on with those that it has.

    Idle as it is, it would be the first to be given those that wait at others, wherever they were sent to.
    """
    scheduler.handle_worker_status_change("closing_gracefully", worker, f"released-{worker.name}")


def keeper_of(client: Any) -> Keeper | None:
    """Who keeps the workers of a client's cluster up; None if nobody does."""
    found = getattr(getattr(client, "cluster", None), "keeper", None)
    return found if isinstance(found, Keeper) else None


def words_of(error: Exception) -> str:
    """What a batch system said when it refused a job, in one line, without dask-jobqueue's words around it."""
    text = str(error)
    said = text.rpartition("stderr:\n")[2].strip() or text.rpartition("stdout:\n")[2].partition("stderr:")[0]
    return one_line(said or text)[:300] or type(error).__name__
