"""What a nanny tells of the end of its worker: a signal, memory, or an exit code. Dask loads this by its name."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client, Nanny

log = logging.getLogger(__name__)

TOPIC = "blockwise-worker-ended"


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


def tell_endings(client: Client) -> None:
    """Say of each worker that ended how it did, in one line."""

    def say(event: tuple[float, dict[str, str]]) -> None:
        log.warning("worker %s is lost: %s", event[1]["worker"], event[1]["how"])

    client.subscribe_topic(TOPIC, say)
