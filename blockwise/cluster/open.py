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
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from blockwise.cluster import jobqueue
from blockwise.errors import BadInput, one_line
from blockwise.settings import Settings, amount_of_memory

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

Positive = Annotated[int, Field(gt=0)]
BATCH_SYSTEMS = ("slurm", "lsf", "pbs")
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


class Cluster(Settings):
    """Where blocks are processed."""

    kind: Literal["local", "none", "inline", "slurm", "lsf", "pbs", "ssh"] = "local"
    """`none` (or `inline`) is this very process, without Dask."""
    workers: Positive = 2
    """Worker processes; for a batch system, jobs of one worker each."""
    threads: Positive = 1
    """Threads of a worker: so many blocks at a time, and so many threads for compiled code."""
    memory: Annotated[str | None, AfterValidator(amount_of_memory)] = None
    """Memory of a worker, such as "8GB"; null: an equal share of this machine's."""
    deadline_s: Annotated[float, Field(gt=0)] | None = 3600
    """A block that takes longer, and 20 times as long as the longest of its stage so far, is taken to hang: its worker
    ends, and the block counts as failed once it did so alone. Not for stages of one block; null: never."""
    lost_s: Annotated[float, Field(gt=0)] = 30
    """A worker that says nothing for so long, and uses no processor time either, is given up: stopped, suspended, or on
    a machine that is. One that is only busy inside compiled code is left alone."""
    chain: bool | Literal["auto"] = "auto"
    """Whether predict, fragments and edges run at the same time, block by block; auto: if only some workers predict."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """So many of the workers have a GPU each (the Dask resource GPU); stages that predict go only there."""
    address: str | None = None
    """Scheduler to join, such as tcp://host:8786; all settings that start workers are then unused."""
    hosts: tuple[str, ...] = ()
    """For ssh: the first runs the scheduler, the others the workers."""
    dashboard: bool | Annotated[int, Field(ge=0, le=65535)] = True
    """Port of the dashboard on 127.0.0.1; true: 8787, or a free one if that is taken; false: none."""
    interface: str | None = None
    """For batch systems: network interface of the scheduler, such as ib0."""
    queue: str | None = None
    account: str | None = None
    walltime: str | None = None
    """Longest time of a job, such as "04:00:00"."""
    directives: tuple[str, ...] = ()
    """Further lines of the job script's header, such as "--constraint=haswell"."""
    gpu_directives: tuple[str, ...] = ("--gres=gpu:1",)
    """Those of jobs with a GPU."""
    prologue: tuple[str, ...] = ()
    """Shell lines run in each job before the worker starts, such as "module load cuda"."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.gpus > self.workers:
            raise ValueError(f"gpus must be at most workers, got {self.gpus} of {self.workers}")
        if self.kind == "ssh" and len(self.hosts) < 2 and self.address is None:
            raise ValueError("hosts must name two hosts or more (a scheduler, then workers) for kind ssh")
        if self.kind in BATCH_SYSTEMS and self.memory is None and self.address is None:
            raise ValueError(f'memory must be given for kind {self.kind}, for example "8GB"')
        return self

    @property
    def is_local(self) -> bool:
        """Whether all workers are on this machine, so that SQLite will do."""
        if self.address is None:
            return self.kind in ("local", "none", "inline")
        return any(f"//{host}" in self.address for host in ("127.0.0.1", "localhost", "[::1]"))

    @property
    def in_process(self) -> bool:
        """Whether blocks run in this process, without Dask."""
        return self.address is None and self.kind in ("none", "inline")

    def promised(self) -> dict[str, float]:
        """Resources that workers will bring once their jobs start."""
        return {"GPU": 1.0} if self.gpus and self.kind in BATCH_SYSTEMS and self.address is None else {}


@contextmanager
def open_cluster(settings: Cluster) -> Iterator[Client]:
    """A client of the cluster, with a first worker there; everything that was started is gone afterwards."""
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
                "host": "127.0.0.1", "nthreads": settings.threads, "local_directory": folder, "dashboard": False,
                "memory_limit": _memory_limit(settings), "silence_logs": logging.ERROR, "preload": [_PRELOAD],
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


def _memory_limit(settings: Cluster) -> str | float:
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
        list(settings.hosts), worker_options=options, scheduler_options=_scheduler_options(settings),
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
