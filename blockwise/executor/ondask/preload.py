"""What each worker on this machine does first; Dask loads it there by its name."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Worker

HEARTBEAT = "Failed to communicate with scheduler during heartbeat"


def dask_setup(worker: Worker) -> None:  # noqa: ARG001 - what Dask calls it with
    """Leave Ctrl-C at a terminal, which reaches workers too, to the driver, and say nothing of its end.

    A heartbeat fails where the scheduler, in the driver, is closed or has ended at once: what there is to say of that
    the driver says, and Dask would print a traceback from every worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed.worker").addFilter(lambda record: HEARTBEAT not in str(record.msg))
