"""The Dask cluster: started on this machine or by a batch system, or joined by its address."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from blockwise.cluster import jobqueue
from blockwise.cluster.settings import BATCH_SYSTEMS, Cluster
from blockwise.cluster.spawning import check_may_start, without_main
from blockwise.errors import BadInput, one_line

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

_SCHEDULER = {
    # A batch lost with its worker is tried again by the run, block by block: Dask must not do so by itself.
    "distributed.scheduler.allowed-failures": 0,
    # Tasks go to workers at once instead of waiting for word from them, twice as many a second. What Dask holds them
    # back for, memory, is bounded by how few the run has out.
    "distributed.scheduler.worker-saturation": float("inf"),
    # After this time (of Dask's own choice: 15 s) a worker that died is not started again, even if it is away for the
    # second time only since a moment: two deaths in a row would end the pool.
    "distributed.deploy.lost-worker-timeout": "1 day",
    # A worker that says nothing may hold the interpreter for long; the run finds out (`executor/silence.py`).
    "distributed.scheduler.worker-ttl": None,
    # The dashboard shows stages by their names; the source of the line that sends them, looked for each time, is ours.
    "distributed.diagnostics.computations.nframes": 0,
}
_PRELOAD = "blockwise.executor.ondask.preload"
_JOIN_S = 10
_FIRST_WORKER_S = 60


@contextmanager
def open_cluster(settings: Cluster) -> Iterator[Client]:
    """A client of the cluster, with a first worker there; everything that was started is gone afterwards.

    Works in scripts without a main guard and in notebooks. Raises BadInput if no worker comes, or none can be started.

    Example:
        with open_cluster(Cluster(workers=2)) as client, OnDask(client, store.url) as executor:
            run_stages([stage], store, executor)
    """
    if settings.in_process:
        raise BadInput("cluster.kind", "has no Dask cluster", got=settings.kind, wanted="local, slurm, ...")
    import dask
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(dask.config.set({**_SCHEDULER, **_environment(settings)}))
        if settings.address is not None:
            yield stack.enter_context(_joined(settings.address))
            return
        cluster = stack.enter_context(_started(settings, stack))
        client = stack.enter_context(_quiet_client(Client(cluster, set_as_default=False)))
        _await_worker(client, settings)
        yield client


def dashboard_address(client: Client) -> str:
    """The dashboard's URL; empty if there is none."""
    link = str(client.dashboard_link or "")  # type: ignore[attr-defined,unused-ignore]
    return link


def job_script(settings: Cluster) -> str:
    """The scripts that would be submitted to the batch system: one for each kind of worker."""
    if settings.kind not in BATCH_SYSTEMS:
        raise BadInput("cluster.kind", "submits no jobs", got=settings.kind, wanted=", ".join(BATCH_SYSTEMS))
    return jobqueue.job_script(settings)


@contextmanager
def _started(settings: Cluster, stack: ExitStack) -> Iterator[Any]:
    if settings.kind in BATCH_SYSTEMS:
        cluster = jobqueue.start(settings, _scheduler_options(settings))
    elif settings.kind == "ssh":
        cluster = _ssh_cluster(settings)
    else:
        check_may_start()
        stack.enter_context(without_main())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="blocks-", ignore_cleanup_errors=True))
        cluster = _local_cluster(settings, folder)
    try:
        yield cluster
    finally:
        with _muted(), suppress(TimeoutError, OSError):
            cluster.close(timeout=10)


def _local_cluster(settings: Cluster, folder: str) -> Any:
    from distributed import Nanny, Scheduler
    from distributed.deploy.spec import SpecCluster

    workers = {
        place: {
            "cls": Nanny,
            "options": {
                "host": "127.0.0.1",
                "nthreads": settings.threads,
                "local_directory": folder,
                "dashboard": False,
                "memory_limit": _memory_limit(settings),
                "silence_logs": logging.ERROR,
                "preload": [_PRELOAD],
                **_gpu_of(place, settings),
            },
        }
        for place in range(settings.workers)
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, **_scheduler_options(settings)}}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR, name="local")


def _gpu_of(place: int, settings: Cluster) -> dict[str, Any]:
    """The first workers have a GPU each; the others see none, so that they cannot fill its memory."""
    if not settings.gpus:
        return {}
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if place >= settings.gpus:
        return {"env": {"CUDA_VISIBLE_DEVICES": ""}}
    device = visible[place % len(visible)] if visible else str(place)
    return {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": device}}


def _memory_limit(settings: Cluster) -> int:
    import psutil

    return settings.memory or int(psutil.virtual_memory().total / settings.workers)


def _scheduler_options(settings: Cluster) -> dict[str, Any]:
    if settings.dashboard is False:
        return {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    port = 8787 if settings.dashboard is True else settings.dashboard
    return {"dashboard": True, "dashboard_address": f"127.0.0.1:{port if _is_free(port) else 0}"}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _ssh_cluster(settings: Cluster) -> Any:
    if importlib.util.find_spec("asyncssh") is None:
        raise BadInput("cluster.kind", "ssh needs the package asyncssh", todo="pip install asyncssh")
    from distributed import SSHCluster

    options = {"nthreads": settings.threads, "memory_limit": settings.memory or "auto"}
    return SSHCluster(
        list(settings.hosts),
        worker_options=options,
        scheduler_options=_scheduler_options(settings),
        remote_python=sys.executable,
    )


@contextmanager
def _joined(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(address, timeout=_JOIN_S, set_as_default=False)
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        text = one_line(str(error)) or type(error).__name__
        raise BadInput(
            "cluster.address", f"no Dask scheduler answers at {address} ({text})", todo="start `dask scheduler` there"
        ) from None
    with _quiet_client(client):
        _await_worker(client, Cluster(address=address))
        yield client


@contextmanager
def _quiet_client(client: Client) -> Iterator[Client]:
    try:
        yield client
    finally:
        with _muted(), suppress(TimeoutError, OSError):
            client.close(timeout=5)


def _await_worker(client: Client, settings: Cluster) -> None:
    """Wait for the first worker: a minute, or as long as the batch system lets its jobs wait."""
    while True:
        try:
            client.wait_for_workers(1, timeout=_FIRST_WORKER_S)
            return
        except TimeoutError:
            if settings.kind not in BATCH_SYSTEMS or settings.address is not None:
                todo = "start workers: dask worker ADDRESS" if settings.address else "look at the workers' logs"
                raise BadInput("cluster", f"no worker came within {_FIRST_WORKER_S} s", todo=todo) from None
            log.warning("cluster: still waiting for the first job of %s to start", settings.kind)


def _environment(settings: Cluster) -> dict[str, Any]:
    """As many threads for compiled code as the worker has, and none of Dask's choices for the allocator.

    Set before anything is loaded there.
    """
    names: Mapping[str, str] = dict.fromkeys(jobqueue.THREAD_VARIABLES, str(settings.threads))
    return {"distributed.nanny.pre-spawn-environ": dict(names)}


@contextmanager
def _muted() -> Iterator[None]:
    """Without Dask's messages of connections that are closed, for that is what is being done."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
