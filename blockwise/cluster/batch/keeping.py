"""Which jobs are submitted, replaced and cancelled, so that there are as many workers as wanted: decisions only.

No Dask, no batch system and no clock: what happened goes in, what is to be done comes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from blockwise.cluster.batch.queue import ELSEWHERE, JobState

FRUITLESS = 3
"""So many times in a row jobs may end without having become a worker."""
REFUSED_FIRST = 3
REFUSED_LATER = 20
"""So many times in a row the batch system may refuse a job, before it has ever taken one and afterwards."""
_LONGEST_WAIT_S = 60.0
_SURPLUS_S = 30.0
"""Workers that are not wanted any more are kept so long: more work may come."""
_SAY_S = 15.0
_SAY_AT_MOST_S = 300.0
_DOUBT_S = 3.0
_FATE_S = 20.0
"""A batch system that does not say within this time why a worker is gone never will."""


SUBMITTED = JobState("waiting", "submitted")


@dataclass
class BatchJob:
    """One job, which is one worker."""

    name: str
    """Of its worker."""
    group: str
    number: str
    """The batch system's."""
    submitted_s: float
    came: bool = False
    """Whether its worker was ever there."""
    is_there: bool = False
    left_s: float | None = None
    """Since when its worker is not there any more."""
    doubted_s: float | None = None
    """Since when its worker is said to be gone by others."""
    state: JobState = SUBMITTED
    asked_s: float = 0.0
    """When the state was last heard of."""
    is_released: bool = False
    """Not wanted any more, and to be cancelled as soon as it does nothing."""
    is_cancelled: bool = False
    """By us."""

    @property
    def counts(self) -> bool:
        """Whether it is, or may become, one of the workers that are wanted."""
        return self.state.phase in ("waiting", "running") and not self.is_released


@dataclass(frozen=True)
class Fate:
    """What became of a worker that is gone."""

    words: str
    is_innocent: bool
    """Whether what ran there has nothing to do with it."""
    is_cut_off: bool = False
    """Whether its job has reached its longest time."""


@dataclass
class _Group:
    wanted: int
    fruitless: int = 0
    refused: int = 0
    tried_s: float = float("-inf")
    """When a job that was fruitless, or refused, was last noticed."""
    not_before_s: float = float("-inf")
    surplus_s: float | None = None
    """Since when there are too many."""
    words: str = ""
    """Of the batch system, on the last job that was fruitless or refused."""


class Keeping:
    """Jobs of a run, in groups (with a GPU or without), and what is to be done about them now."""

    def __init__(self, kind: str, wanted: Mapping[str, int]) -> None:
        """kind: of batch system, for people. wanted: jobs of each group."""
        self._kind = kind
        self._groups = {group: _Group(count) for group, count in wanted.items()}
        self.jobs: dict[str, BatchJob] = {}
        """All that were ever submitted, by the names of their workers."""
        self._lines: list[str] = []
        self._said_s = float("-inf")
        self._pause_s = _SAY_S
        self._summary = ""

    def want(self, group: str, count: int) -> None:
        """Keep so many jobs of a group from now on."""
        self._groups[group].wanted = count

    def wanted(self, group: str) -> int:
        """Jobs of a group that are kept up."""
        return self._groups[group].wanted if group in self._groups else 0

    def submitted(self, job: BatchJob) -> None:
        """The batch system has taken a job."""
        self.jobs[job.name] = job
        self._groups[job.group].refused = 0

    def refused(self, now_s: float, group: str, words: str) -> None:
        """The batch system has not taken a job, and said so."""
        found = self._groups[group]
        found.refused += 1
        found.words = words
        found.not_before_s = now_s + min(_LONGEST_WAIT_S, 2.0**found.refused if self.jobs else 1.0)
        if self.jobs and found.refused in (1, 5, 10):
            self._lines.append(f"cluster: {self._kind} takes no job now ({words}); tried again")

    def note_workers(self, now_s: float, names: Collection[str]) -> list[str]:
        """Which workers are there; returns those that have just gone."""
        gone = []
        for job in self.jobs.values():
            if job.name in names:
                if not job.is_there:
                    job.came, job.is_there, job.left_s = True, True, None
                    self._groups[job.group].fruitless = 0
                    self._groups[job.group].not_before_s = now_s
            elif job.is_there:
                job.is_there, job.left_s = False, now_s
                gone.append(job.name)
        return gone

    def note_states(self, now_s: float, states: Mapping[str, JobState]) -> None:
        """What the batch system says of jobs, by their numbers; of the others it was not asked."""
        for job in self.jobs.values():
            state = states.get(job.number)
            if state is None or job.state.phase == "ended":
                continue
            job.state, job.asked_s = state, now_s
            if state.phase == "ended":
                self._ended(now_s, job)

    def unsettled(self) -> list[BatchJob]:
        """Jobs of which the batch system is to be asked."""
        return [job for job in self.jobs.values() if job.state.phase != "ended"]

    def is_restless(self) -> bool:
        """Whether something is on its way, so that the batch system is asked often."""
        return any(not job.is_there for job in self.unsettled())

    def to_submit(self, now_s: float) -> dict[str, int]:
        """How many jobs of each group are to be submitted now."""
        found = {}
        for name, group in self._groups.items():
            there = [job for job in self.jobs.values() if job.group == name and job.counts]
            missing = group.wanted - len(there)
            if missing <= 0 or now_s < group.not_before_s:
                continue
            if group.fruitless or group.refused:  # one shows whether it goes again
                missing = 0 if any(not job.came for job in there) else 1
            if missing:
                found[name] = missing
        return found

    def to_cancel(self, now_s: float, busy: Collection[str]) -> list[BatchJob]:
        """Jobs that are not wanted any more, and hold no block."""
        for name, group in self._groups.items():
            there = [job for job in self.jobs.values() if job.group == name and job.counts]
            surplus = len(there) - group.wanted
            if surplus <= 0:
                group.surplus_s = None
                continue
            group.surplus_s = now_s if group.surplus_s is None else group.surplus_s
            if now_s - group.surplus_s >= _SURPLUS_S:
                idle = sorted(
                    (job for job in there if job.name not in busy), key=lambda job: (job.came, -job.submitted_s)
                )
                for job in idle[:surplus]:
                    job.is_released = True
        found = []
        for job in self.jobs.values():
            is_useless = job.is_released and job.name not in busy and job.state.phase in ("waiting", "running")
            if (is_useless or job.state.lingers) and not job.is_cancelled:
                job.is_cancelled = True
                found.append(job)
        return found

    def release(self, name: str) -> None:
        """A worker is of no use any more: another one is submitted, and its job cancelled when it does nothing."""
        if name in self.jobs:
            self.jobs[name].is_released = True

    def is_released(self, name: str) -> bool:
        """Whether a worker is not wanted any more."""
        return name in self.jobs and self.jobs[name].is_released

    def fate(self, now_s: float, name: str) -> Fate | None:
        """What became of a worker that is gone; None as long as that may still be found out.

        name: of the worker; empty if nobody knows which one it was: then any that was lost lately may be meant.
        """
        if name:
            job = self.jobs.get(name)
            return Fate("", False) if job is None else self._fate(now_s, job)
        lately = [job for job in self.jobs.values() if job.left_s is not None and now_s - job.left_s < 2 * _FATE_S]
        fates = [self._fate(now_s, job) for job in lately]
        if None in fates:
            return None
        return next((fate for fate in fates if fate is not None and fate.is_innocent), Fate("", False))

    def _fate(self, now_s: float, job: BatchJob) -> Fate | None:
        if job.state.phase == "ended":
            cause = job.state.cause
            return Fate(job.state.words, cause in ELSEWHERE or job.is_released, cause == "walltime")
        if job.left_s is None:  # the scheduler knew before we did, or its nanny has started it again already
            job.doubted_s = now_s if job.doubted_s is None else job.doubted_s
            if now_s - job.doubted_s < _DOUBT_S:
                return None
            job.doubted_s = None
            return Fate("", False)
        is_known = job.asked_s > job.left_s and job.state.phase != "ending"
        return Fate("", False) if is_known or now_s - job.left_s > _FATE_S else None

    def promises(self, group: str) -> bool:
        """Whether jobs of a group are there, or are going to be submitted."""
        return group in self._groups and self._groups[group].wanted > 0

    def count(self, group: str) -> int:
        """Workers of a group that are there."""
        return sum(job.is_there and job.group == group for job in self.jobs.values())

    def over(self) -> str:
        """Why there is no use in going on, with the batch system's own words; nothing as long as there is."""
        for name, group in self._groups.items():
            if any(job.group == name and job.counts for job in self.jobs.values()):
                continue
            if group.refused >= (REFUSED_LATER if self.jobs else REFUSED_FIRST):
                return f"{self._kind} takes no jobs ({group.words})"
            if group.fruitless >= FRUITLESS:
                return (
                    f"{self._kind} jobs end without becoming a worker, {group.fruitless} times in a row ({group.words})"
                )
        return ""

    def to_say(self, now_s: float) -> list[str]:
        """Lines for people: jobs that ended, and every so often how many workers there are and what the queue says."""
        lines, self._lines = self._lines, []
        there = sum(job.is_there for job in self.jobs.values())
        wanted = sum(group.wanted for group in self._groups.values())
        summary = self.summary()
        if there >= wanted or now_s - self._said_s < (_SAY_S if summary != self._summary else self._pause_s):
            return lines
        is_first = self._said_s == float("-inf")
        # The same again and again is said ever more rarely: a queue may take a day.
        self._pause_s = min(2 * self._pause_s, _SAY_AT_MOST_S) if summary == self._summary else _SAY_S
        self._said_s, self._summary = now_s, summary
        return lines if is_first else [*lines, summary]

    def summary(self) -> str:
        """How many workers there are, how many are wanted, and what the queue says of the others."""
        counts = []
        for name, group in self._groups.items():
            if group.wanted:
                kind = f" with {name}" if name else ""
                counts.append(f"{self.count(name)} of {group.wanted} workers{kind}")
        waiting = Counter(job.state.words for job in self.unsettled() if not job.is_there and not job.is_released)
        said = ", ".join(f"{count} {words}" for words, count in waiting.most_common(5))
        return f"cluster: {' and '.join(counts)}" + (f"; the queue says: {said}" if said else "")

    def _ended(self, now_s: float, job: BatchJob) -> None:
        group = self._groups[job.group]
        job.is_there = False
        if job.left_s is None:
            job.left_s = now_s
        if job.came or job.is_released:
            if not job.is_released:
                self._lines.append(f"cluster: worker {job.name} is lost, job {job.number} ended: {ending(job.state)}")
            return
        if job.state.cause in ELSEWHERE:  # somebody, or the cluster, ended it: nothing is wrong with it
            self._lines.append(
                f"cluster: job {job.number} ended in the queue: {ending(job.state)}; another is submitted"
            )
            group.not_before_s = max(group.not_before_s, now_s + 2)
            return
        group.words = f"job {job.number}: {ending(job.state)}"
        if job.submitted_s > group.tried_s:  # of many submitted together only the first shows anything new
            group.fruitless += 1
            group.tried_s = now_s
            group.not_before_s = now_s + min(_LONGEST_WAIT_S, 2.0**group.fruitless)


def ending(state: JobState) -> str:
    """The cause in one word where it is known, and the batch system's own words."""
    return f"{state.cause} ({state.words})" if state.cause else state.words
