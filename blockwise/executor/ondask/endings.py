"""Workers that are lost, and what is known of the cause.

A nanny tells of the end of its worker: a signal, memory, or an exit code. Dask loads this file by its name there.
"""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockwise.executor.workerlog import note_lost

if TYPE_CHECKING:
    from distributed import Client, Nanny

log = logging.getLogger(__name__)

TOPIC = "blockwise-worker-ended"
_ONCE_S = 60.0
"""A worker of which more is heard within this time is the same one, and not lost again."""
_PATIENCE_S = 25.0
"""Its nanny or the batch system may say so long why a worker is gone."""


def dask_setup(nanny: Nanny) -> None:
    """Have it tell the scheduler, which nobody else does; it goes on to start the worker again."""
    # The one place where it learns of it. Where Dask has changed, nothing is told.
    learns: Any = getattr(nanny, "_on_worker_exit_sync", None)
    if learns is None:
        return

    ended: set[int] = {-1}
    """Processes that the nanny has ended for their memory, as far as that is told."""

    def tell(code: int) -> None:
        manager = getattr(nanny, "memory_manager", None)
        process = getattr(manager, "_last_terminated_pid", -1)
        how = how_ended(code) if process in ended else too_large(manager)
        ended.add(process)
        if nanny.status.name == "running":  # else it was asked to end it
            nanny.log_event(TOPIC, {"worker": str(nanny.worker_address), "how": how})
        learns(code)

    nanny._on_worker_exit_sync = tell


def too_large(manager: Any) -> str:
    """The end of a process that used too much memory. manager: Dask's, which has ended it."""
    share, limit = float(manager.memory_terminate_fraction), float(manager.memory_limit)
    return f"memory: it used more than {share:.0%} of its {limit / 1e6:.0f} MB; see cluster.memory"


def how_ended(code: int) -> str:
    """The end of a process in words. code: its exit code, or minus the number of a signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"signal {name}" + (" (the system's, where memory ran out?)" if name == "SIGKILL" else "")


class LostWorkers:
    """Says of each worker that is lost, once, what is known of the cause, and notes it beside the logs of blocks.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._told: dict[str, float] = {}
        """When it was said, by the name or address of the worker."""
        self._silent: dict[tuple[str, str], float] = {}
        """Workers, by address and name, that went without a word, and when."""

    def into(self, folder: Path) -> None:
        """Note them in this folder from now on."""
        self._folder = folder

    def listen(self, client: Client) -> None:
        """Hear what nannies say."""

        def hear(event: tuple[float, dict[str, str]]) -> None:
            self.say(event[1]["worker"], event[1]["how"])

        client.subscribe_topic(TOPIC, hear)

    def say(self, worker: str, how: str, line: str = "worker %s is lost: %s") -> None:
        """A worker is lost. worker: its address or name. line: what is logged; nothing if others have."""
        now = time.monotonic()
        if now - self._told.get(worker, float("-inf")) < _ONCE_S:
            return
        self._told[worker] = now
        if line:
            log.warning(line, worker, how)
        if self._folder is not None:
            note_lost(self._folder, worker, how)

    def went(self, address: str, name: str) -> None:
        """The connection to a worker has ended while blocks were there."""
        self._silent.setdefault((address, name), time.monotonic())

    def settle(self, patience_s: float = _PATIENCE_S) -> None:
        """Say of workers of which nobody has told within this time why they went."""
        now = time.monotonic()
        for (address, name), since in list(self._silent.items()):
            is_told = any(self._told.get(one, float("-inf")) > since - _ONCE_S for one in (address, name))
            if is_told or now - since >= patience_s:
                del self._silent[address, name]
            if not is_told and now - since >= patience_s:
                self.say(address, "its connection ended while it had blocks, and nobody says why")
