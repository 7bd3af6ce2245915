"""Workers that Dask has paused, as they use too much of their memory: said in time, started again, or the end of a run.

A paused worker goes on with what it has begun, begins nothing else, and is left out when tasks are given to workers.
If nothing runs on it, its memory does not become less by itself: what waits there would wait for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SAY_S = 10.0
STUCK_S = 20.0
"""A worker that has been paused for so long, with nothing running on it, is started again once."""
OVER_S = 40.0
"""One that is paused for so long again, and holds blocks, ends the run: others would wait for these for ever."""
_STEP_S = 2.0
"""A longer gap between two looks is the driver's own silence."""
_RUNNING = ("executing", "long-running", "cancelled", "resumed")
_WAITING = ("ready", "constrained", "waiting", "fetch", "flight")


@dataclass(frozen=True)
class Load:
    """What the scheduler says of a worker."""

    name: str
    """The same one after it was started again."""
    is_paused: bool
    executing: int
    waiting: int
    """Tasks that it holds and has not begun."""
    memory: int = 0
    """Bytes that its process uses."""
    limit: int = 0
    """Bytes that it may use."""


@dataclass
class _Pause:
    seconds: float = 0.0
    idle_s: float = 0.0
    """With nothing running."""
    is_said: bool = False
    is_given_up: bool = False


class Pauses:
    """How long each worker is paused, and what is to be done: decisions only, no Dask and no clock."""

    def __init__(self) -> None:
        self._pauses: dict[str, _Pause] = {}
        self._loads: Mapping[str, Load] = {}
        self._restarted: set[str] = set()
        self._at_s: float | None = None

    def note(self, now_s: float, loads: Mapping[str, Load]) -> None:
        """How the workers there are stand now, by their addresses."""
        step_s = 0.0 if self._at_s is None else min(now_s - self._at_s, _STEP_S)
        self._at_s = now_s
        self._loads = loads
        before, self._pauses = self._pauses, {}
        for address, load in loads.items():
            if not load.is_paused:
                continue
            pause = before.get(address, _Pause(seconds=-step_s, idle_s=-step_s))
            pause.seconds += step_s
            pause.idle_s = 0.0 if load.executing else pause.idle_s + step_s
            self._pauses[address] = pause

    def to_say(self) -> list[str]:
        """A line for each worker that is paused for some time, once for each pause."""
        lines = []
        for address, pause in self._pauses.items():
            if pause.seconds >= SAY_S and not pause.is_said:
                pause.is_said = True
                lines.append(f"worker {address} is paused by Dask: {self._memory(address)}; see cluster.memory")
        return lines

    def to_restart(self) -> list[str]:
        """Workers to be started again now: each once only, as one that comes back as large would never end."""
        found = []
        for address, pause in self._pauses.items():
            name = self._loads[address].name
            if pause.idle_s >= STUCK_S and not pause.is_given_up and name not in self._restarted:
                pause.is_given_up = True
                self._restarted.add(name)
                found.append(address)
        return found

    def over(self) -> str:
        """Why the run cannot go on; nothing as long as it can."""
        stuck = [address for address, pause in self._pauses.items() if pause.idle_s >= OVER_S and not pause.is_given_up]
        wanted = [address for address in stuck if self._loads[address].waiting]
        if not wanted and (not stuck or len(stuck) < len(self._loads)):
            return ""
        address = (wanted or stuck)[0]
        return (
            f"worker {address} is paused by Dask since {self._pauses[address].seconds:.0f} s and waits for nothing: "
            f"{self._memory(address)}; raise cluster.memory (or the memory of the workers), or use smaller blocks"
        )

    def is_there(self, address: str) -> bool:
        """Whether a worker can do anything, as far as its memory is concerned."""
        pause = self._pauses.get(address)
        return pause is None or pause.idle_s < SAY_S

    def _memory(self, address: str) -> str:
        load = self._loads[address]
        share = f", {load.memory / load.limit:.0%}" if load.limit else ""
        return f"it uses {load.memory / 1e6:.0f} of {load.limit / 1e6:.0f} MB{share}"


def load_of(address: str, worker: Mapping[str, object]) -> Load:
    """The load of a worker from what the scheduler tells of it."""
    metrics = worker.get("metrics")
    told = metrics if isinstance(metrics, Mapping) else {}
    counts = told.get("task_counts") or {}
    return Load(
        str(worker.get("name", address)),
        worker.get("status") == "paused",
        sum(int(counts.get(state, 0)) for state in _RUNNING),
        sum(int(counts.get(state, 0)) for state in _WAITING),
        int(told.get("memory") or 0),
        int(worker.get("memory_limit") or 0),  # type: ignore[call-overload]
    )
