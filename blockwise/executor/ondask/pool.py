"""The workers of a Dask cluster: how many there are, and whether they can do a stage at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from blockwise.cluster.address import is_loopback
from blockwise.cluster.batch.keeper import Keeper, keeper_of
from blockwise.cluster.batch.keeping import Fate
from blockwise.errors import BadInput, WorkFailed
from blockwise.executor.ondask.endings import LostWorkers
from blockwise.executor.ondask.pauses import Pauses, load_of
from blockwise.executor.ondask.remaining import METRIC
from blockwise.executor.ondask.silence import LOST_S, Listener
from blockwise.stage import Stage

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

_FRESH_S = 1.0
_SAY_S = 15.0
_YOUNG_S = 15.0
_HOPELESS = 3
_EARLY_S = 3.0
"""What is known of a worker is so old at most; it would begin nothing more itself."""


class Pool:
    """What the scheduler says of its workers, asked at most once a second."""

    def __init__(self, client: Client, promised: Mapping[str, float], lost_s: float = LOST_S) -> None:
        self._client: Any = client
        self.lost = LostWorkers()
        self._listener = Listener(client, self.lost, lost_s)
        self._pauses = Pauses()
        self._came: set[frozenset[str]] = set()
        """Needs that some worker had."""
        self._said_s = time.monotonic()
        self._promised = promised
        self._keeper: Keeper | None = keeper_of(client)
        self._workers: dict[str, dict[str, Any]] = {}
        self._ends: dict[str, float] = {}
        """When the jobs of workers end, those that have a longest time."""
        self._since: dict[str, float] = {}
        """When each worker was first seen."""
        self._released: set[str] = set()
        self._hopeless = 0
        """Workers in a row that were of no use as soon as they came."""
        self._asked_s = -_FRESH_S

    def alive(self, needed: Mapping[str, float]) -> int:
        """Workers that answer, may begin something and have these resources; none if the scheduler does not answer."""
        known = self._known()
        silence = self._listener.silence
        there = [one for address, one in known.items() if silence.is_there(address) and self._pauses.is_there(address)]
        count = sum(slots_of(worker, needed) > 0 for worker in there)
        if count:
            self._came.add(frozenset(needed))
        elif self._keeper is not None:
            if reason := self._keeper.over():
                raise WorkFailed(f"{reason}; what is finished is kept; see the jobs' logs and run again")
            return int(self._keeper.promises(needed))
        elif satisfies(self._promised, needed) and frozenset(needed) not in self._came:
            self._say_waiting(needed)
            return 1  # its job still waits in the queue of the batch system, for as long as that takes
        return count

    def slots(self, needed: Mapping[str, float], places: Collection[str] | None = None) -> int:
        """Tasks with these needs that can run at the same time, on all workers or those named; at least 1."""
        known = self._known().items()
        chosen = [worker for address, worker in known if places is None or address in places]
        return max(1, sum(slots_of(worker, needed) for worker in chosen))

    def late(self, needed_s: float) -> set[str]:
        """Addresses of the workers whose jobs end before a block would that needs so many seconds."""
        self._known()
        now = time.monotonic()
        return {address for address, end_s in self._ends.items() if end_s - now < needed_s + _EARLY_S}

    def release(self, addresses: Collection[str]) -> None:
        """These workers can do nothing more before their jobs end."""
        now = time.monotonic()
        for address in set(addresses) - self._released:
            is_young = now - self._since.get(address, now) < _YOUNG_S
            self._hopeless = self._hopeless + 1 if is_young else 0
            self._released.add(address)
            if self._keeper is not None:
                self._keeper.release([str(self._workers[address].get("name"))])

    @property
    def are_hopeless(self) -> bool:
        """Whether workers come and go without being able to begin anything."""
        return self._hopeless >= _HOPELESS

    def fate(self, name: str) -> Fate | None:
        """What became of a worker that died; None as long as its batch system may still say."""
        return Fate("", False) if self._keeper is None else self._keeper.fate(name)

    @property
    def walltime_s(self) -> float | None:
        """Seconds that the job of a worker may take, where that is known."""
        return None if self._keeper is None else self._keeper.walltime_s

    def follow(self, left: Mapping[str, float]) -> None:
        """Have as many workers as the work that is left needs. left: its seconds, by group."""
        if self._keeper is not None:
            self._keeper.follow(left)

    def without(self, resources: Collection[str]) -> list[str]:
        """Addresses of the workers that have none of these resources."""
        known = self._known().items()
        return [address for address, worker in known if not set(resources) & set(worker.get("resources", {}))]

    def check(self, stage: Stage, store_url: str) -> None:
        """Raise BadInput if no worker can ever process this stage, or reach its store."""
        needed = stage.resources()
        workers = self._ask()
        # Workers that died a moment ago are not there yet again: where there are none, nothing is known of what comes.
        may_come = not workers or frozenset(needed) in self._came or satisfies(self._promised, needed)
        if not may_come and not any(slots_of(worker, needed) for worker in workers.values()):
            have = [dict(worker.get("resources", {})) for worker in workers.values()]
            raise BadInput(
                stage.name,
                "no worker has what this stage needs",
                got=have,
                wanted=dict(needed) or 1,
                todo="set cluster.gpus (or cluster.workers), or device: cpu",
            )
        away = [address for address in workers if not is_here(address)]
        if store_url.startswith("sqlite:") and away:
            raise BadInput(
                "store",
                "SQLite works on one machine only, and workers are elsewhere",
                got=away[0],
                wanted="mongodb://host/database",
                todo="start MongoDB and set store",
            )

    def _known(self) -> dict[str, dict[str, Any]]:
        now = time.monotonic()
        if now - self._asked_s >= _FRESH_S:
            self._workers = self._ask()
            self._asked_s = now
            self._since = {address: self._since.get(address, now) for address in self._workers}
            told = {address: (worker.get("metrics") or {}).get(METRIC) for address, worker in self._workers.items()}
            self._ends = {address: now + left_s for address, left_s in told.items() if left_s is not None}
            self._listener.look(self._workers)
            self._look_at_pauses(now)
            for name, how in self._keeper.losses().items() if self._keeper else ():
                self.lost.say(name, how, line="")  # who keeps jobs up has said it
        return self._workers

    def _say_waiting(self, needed: Mapping[str, float]) -> None:
        if time.monotonic() - self._said_s >= _SAY_S:
            self._said_s = time.monotonic()
            log.warning("cluster: still waiting for the first worker with %s", ", ".join(needed))

    def _look_at_pauses(self, now: float) -> None:
        """Say which workers are paused, start again those that stay so; WorkFailed if nothing helps."""
        self._pauses.note(now, {address: load_of(address, worker) for address, worker in self._workers.items()})
        for line in self._pauses.to_say():
            log.warning("%s", line)
        for address in self._pauses.to_restart():
            self._listener.give_up(address, "it is paused, and nothing runs there")
        if reason := self._pauses.over():
            raise WorkFailed(f"{reason}; what is finished is kept")

    def _ask(self) -> dict[str, dict[str, Any]]:
        try:
            workers: dict[str, dict[str, Any]] = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, RuntimeError, TimeoutError, KeyError):  # a client without its scheduler knows no workers
            return {}
        return workers


def slots_of(worker: Mapping[str, Any], needed: Mapping[str, float]) -> int:
    """Tasks with these needs that one worker can run at the same time."""
    have = worker.get("resources", {})
    limits = [int(have.get(name, 0) // amount) for name, amount in needed.items() if amount > 0]
    return min([int(worker.get("nthreads", 1)), *limits])


def satisfies(have: Mapping[str, float], needed: Mapping[str, float]) -> bool:
    """Whether resources are promised, and enough of them."""
    return bool(needed) and all(have.get(name, 0) >= amount for name, amount in needed.items())


def is_here(address: str) -> bool:
    """Whether a worker's address (tcp://127.0.0.1:1234) is one of this machine."""
    if is_loopback(address):
        return True
    import psutil

    host = urlsplit(address).hostname
    return any(host == one.address for found in psutil.net_if_addrs().values() for one in found)
