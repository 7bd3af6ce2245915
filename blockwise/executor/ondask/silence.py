"""Workers that no longer answer: which of them only compute, and which are lost.

A worker that dies is noticed at once, as its connection ends. One that is stopped (SIGSTOP, a suspended job) or hangs
keeps its connection and says nothing; so does one whose compiled code holds the interpreter, which must be left alone.
The nanny, a process of its own next to the worker, tells them apart: only one of them uses processor time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blockwise.executor.ondask.endings import LostWorkers

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

LOST_S = 30.0
"""A worker that says nothing for so long, and computes nothing, is lost."""
_STEP_S = 2.0
"""A longer gap between two looks is the driver's own silence: it may have been stopped itself."""
_WITHOUT_NANNY = 4
"""So many times as long where nobody can tell what the worker does."""
_LITTLE_S = 0.05
_ANSWER_S = 5.0
_KILL_S = 10.0


@dataclass(frozen=True)
class Sign:
    """What a nanny says of its worker's process."""

    cpu_s: float
    """Processor time so far."""
    is_stopped: bool
    waits_for_disk: bool
    """It cannot even be killed then."""


@dataclass
class _Worker:
    seen: float
    """When the scheduler last heard of it, by the scheduler's clock."""
    silent_s: float = 0.0
    asked_s: float = 0.0
    """How long it had been silent when its nanny was last asked."""
    cpu_s: float | None = None
    works: bool | None = None
    """What the nanny says; None as long as that is not known."""
    was_given_up: bool = False


class Silence:
    """How long each worker has said nothing, and what is to be done: decisions only, no Dask and no clock."""

    def __init__(self, lost_s: float = LOST_S) -> None:
        self._lost_s = lost_s
        self._ask_s = lost_s / 3
        self._again_s = lost_s / 6
        self._workers: dict[str, _Worker] = {}
        self._at_s: float | None = None

    def note(self, now_s: float, seen: Mapping[str, float]) -> None:
        """When the scheduler last heard of each worker there is."""
        step_s = 0.0 if self._at_s is None else min(now_s - self._at_s, _STEP_S)
        self._at_s = now_s
        before, self._workers = self._workers, {}
        for address, last in seen.items():
            worker = before.get(address)
            if worker is None or worker.seen != last:
                worker = _Worker(last)
            else:
                worker.silent_s += step_s
            self._workers[address] = worker

    def to_ask(self) -> list[str]:
        """Workers whose nannies are to be asked now."""
        due = []
        for address, worker in self._workers.items():
            if worker.silent_s >= max(self._ask_s, worker.asked_s + self._again_s) and not worker.was_given_up:
                worker.asked_s = worker.silent_s
                due.append(address)
        return due

    def answered(self, address: str, sign: Sign | None) -> None:
        """What the nanny said; None: it does not answer either."""
        worker = self._workers.get(address)
        if worker is None or not worker.silent_s:
            return
        if sign is None or sign.is_stopped:
            worker.works = False
        elif sign.waits_for_disk:
            worker.works = True
        elif worker.cpu_s is not None:
            worker.works = sign.cpu_s - worker.cpu_s > _LITTLE_S
        worker.cpu_s = None if sign is None else sign.cpu_s

    def lost(self) -> dict[str, float]:
        """Workers to be given up now, each named once, and how long they have been silent."""
        found = {}
        for address, worker in self._workers.items():
            limit_s = self._lost_s if worker.works is False else _WITHOUT_NANNY * self._lost_s
            if worker.silent_s >= limit_s and not worker.works and not worker.was_given_up:
                worker.was_given_up = True
                found[address] = worker.silent_s
        return found

    def is_there(self, address: str) -> bool:
        """Whether a worker answers, or is known to compute, or has been silent for a short time only."""
        worker = self._workers.get(address)
        return worker is None or worker.works is not False


class Listener:
    """Asks the nannies of silent workers, and has those that are lost restarted; never waits for an answer."""

    def __init__(self, client: Client, lost: LostWorkers, lost_s: float = LOST_S) -> None:
        self._client: Any = client
        self._lost = lost
        self.silence = Silence(lost_s)

    def look(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the scheduler's word of its workers, as often as it is asked."""
        self.silence.note(time.monotonic(), {address: worker["last_seen"] for address, worker in workers.items()})
        for address in self.silence.to_ask():
            if workers[address].get("nanny"):
                self._client.loop.add_callback(self._ask, address)
        for address, silent_s in self.silence.lost().items():
            self.give_up(address, f"it has said and done nothing for {silent_s:.0f} s")

    def give_up(self, address: str, why: str) -> None:
        """Have a worker started again; its blocks are those of a lost worker then."""
        self._lost.say(address, why, "worker %s is given up: %s")
        self._client.loop.add_callback(self._give_up, address)

    async def _ask(self, address: str) -> None:
        try:
            sign = await ask(self._client, address)
        except (OSError, RuntimeError, TimeoutError, KeyError):
            sign = None
        except Exception as error:  # its nanny answers, but cannot tell
            log.debug("sign: %s", error)
            return
        self.silence.answered(address, sign)

    async def _give_up(self, address: str) -> None:
        """Killed and restarted by its nanny; removed from the scheduler if there is none, or if it is silent too."""
        try:
            await self._client.scheduler.restart_workers(
                workers=[address],
                timeout=_KILL_S,
                wait_for_workers=False,
                on_error="return",
                stimulus_id=f"silent-worker-{time.time()}",
            )
        except (OSError, RuntimeError, TimeoutError) as error:  # the run ends
            log.debug("restart: %s", error)


async def ask(client: Any, address: str) -> Sign:
    """What the nanny of a worker says of it; raises TimeoutError or OSError if it does not answer."""
    asked = client._run(sign_of, workers=[address], nanny=True)  # as client.run, which would wait
    answers = await asyncio.wait_for(asked, _ANSWER_S)
    found: Sign = answers[address]
    return found


def sign_of(dask_worker: Any) -> Sign:
    """Runs in the nanny, which Dask hands over under this name."""
    import psutil

    process = psutil.Process(dask_worker.pid)
    times, status = process.cpu_times(), process.status()
    return Sign(times.user + times.system, status == psutil.STATUS_STOPPED, status == psutil.STATUS_DISK_SLEEP)
