"""What each worker in a job tells the scheduler: how long its job may still go on. Dask loads this by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blockwise.cluster.batch.walltime import left_s

if TYPE_CHECKING:
    from distributed import Worker

METRIC = "job_left_s"
"""Under which it stands among a worker's figures."""


def dask_setup(worker: Worker) -> None:
    """Have the time that is left told with each heartbeat, if there is a limit."""
    if left_s() is not None:
        worker.metrics[METRIC] = lambda _: left_s()
