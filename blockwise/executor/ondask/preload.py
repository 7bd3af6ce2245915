"""What each worker on this machine does first; Dask loads it there by its name."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker


def dask_setup(worker: Worker) -> None:
    """Leave Ctrl-C at a terminal, which reaches workers too, to the driver, and say nothing of the end of a connection
    that the worker closes itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed.worker").addFilter(Closing(worker))


class Closing(logging.Filter):
    """Drops one message: the heartbeat that was on its way when the worker was told to close."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is to be written."""
        if not record.msg.startswith("Failed to communicate with scheduler during heartbeat"):
            return True
        return self._worker.status.name not in ("closing", "closing_gracefully", "closed")
