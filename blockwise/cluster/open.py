"""The Dask cluster: started on this machine or by a batch system, or joined by its address."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from blockwise.cluster.batch import scripts
from blockwise.cluster.batch.keeper import Keeper, keeper_of
from blockwise.cluster.batch.scripts import ENDINGS
from blockwise.cluster.certificates import configuration_of, given_security, security_of
from blockwise.cluster.configuration import check_values, chosen, import_dask, link_here, not_started
from blockwise.cluster.handles import allow_files
from blockwise.cluster.interrupts import deferred, not_inherited
from blockwise.cluster.joining import joined
from blockwise.cluster.quiet import muted, without_told
from blockwise.cluster.settings import BATCH_SYSTEMS, Cluster, Tls
from blockwise.cluster.spawning import check_may_start, without_main
from blockwise.cluster.ssh import ssh_cluster
from blockwise.errors import BadInput

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

_PRELOAD = "blockwise.executor.ondask.preload"
_LOOK_S = 1
_SAY_S = 15
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
    settings.check_memory()
    import_dask()
    import dask

    is_own = settings.address is None and settings.kind in ("auto", "local")
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({**chosen(is_own), **_environment(settings)}))
        if settings.address is not None:
            security = given_security(settings.tls) if isinstance(settings.tls, Tls) else None
            client = stack.enter_context(_quiet_client(joined(settings.full_address or "", security)))
        else:
            check_values()
            allow_files(settings.most_workers)
            with deferred():
                client = _start(settings, stack)
        _await_worker(client, settings)
        yield client


def dashboard_address(client: Client) -> str:
    """The dashboard's URL; empty if there is none."""
    try:
        return str(client.dashboard_link or "")  # type: ignore[attr-defined,unused-ignore]
    except KeyError:  # a scheduler without
        return ""


def job_script(settings: Cluster) -> str:
    """The scripts that would be submitted to the batch system: one for each kind of worker."""
    if settings.kind not in BATCH_SYSTEMS:
        raise BadInput("cluster.kind", "submits no jobs", got=settings.kind, wanted=", ".join(BATCH_SYSTEMS))
    return scripts.job_script(settings)


def _start(settings: Cluster, stack: ExitStack) -> Client:
    """A client of a cluster that is started here; both are closed with the stack."""
    from distributed import Client

    with muted(), warnings.catch_warnings():
        # Dask takes another port then, and the address that is announced says which.
        warnings.filterwarnings("ignore", "Port .* is already in use")
        try:
            cluster = stack.enter_context(_closed(_cluster(settings, stack)))
            if settings.kind in BATCH_SYSTEMS:
                stack.enter_context(_kept(cluster.keeper))
            return stack.enter_context(_quiet_client(Client(cluster, set_as_default=False)))
        except BadInput:
            raise
        except Exception as error:  # Dask and its configuration fail in many ways
            raise not_started("workers cannot be started", error) from error


def _cluster(settings: Cluster, stack: ExitStack) -> Any:
    import dask

    if settings.kind in BATCH_SYSTEMS:
        return _batch_cluster(settings, stack)
    if settings.kind == "ssh":
        if (security := stack.enter_context(security_of(settings))) is not None:
            stack.enter_context(dask.config.set(configuration_of(security)))
        return ssh_cluster(settings, _scheduler_options(settings), stack.enter_context(_loop()))
    check_may_start()
    stack.enter_context(without_main())
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="blocks-", ignore_cleanup_errors=True))
    return _local_cluster(settings, folder, stack.enter_context(_loop()))


def _batch_cluster(settings: Cluster, stack: ExitStack) -> Any:
    """A scheduler without workers, and a keeper who sees to it that jobs come and go."""
    import dask

    stack.enter_context(without_told())
    stack.enter_context(dask.config.set(link_here()))
    kind = scripts.cluster_class(settings.kind)
    cluster = kind(
        scheduler_options=_scheduler_options(settings),
        interface=settings.interface,
        loop=stack.enter_context(_loop()),
        security=stack.enter_context(security_of(settings)),
        **scripts.options(settings, ""),
    )
    cluster.keeper = Keeper(cluster, settings)
    return cluster


@contextmanager
def _kept(keeper: Keeper) -> Iterator[None]:
    keeper.start()
    try:
        yield
    finally:
        with muted():
            keeper.stop()


@contextmanager
def _loop() -> Iterator[Any]:
    """A thread that runs Dask's scheduler, and starts the workers."""
    from distributed.utils import LoopRunner

    runner = LoopRunner()
    with not_inherited():
        runner.start()
    try:
        yield runner.loop
    finally:
        runner.stop()


@contextmanager
def _closed(cluster: Any) -> Iterator[Any]:
    try:
        yield cluster
    finally:
        with muted(), suppress(TimeoutError, OSError):
            cluster.close(timeout=10)


def _local_cluster(settings: Cluster, folder: str, loop: Any) -> Any:
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
                "memory_limit": settings.worker_bytes,
                "silence_logs": logging.ERROR,
                "preload": [_PRELOAD],
                "preload_nanny": [ENDINGS],
                **_gpu_of(place, settings),
            },
        }
        for place in range(settings.most_workers)
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, **_scheduler_options(settings)}}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR, name="local", loop=loop)


def _gpu_of(place: int, settings: Cluster) -> dict[str, Any]:
    """The first workers have a GPU each; the others see none, so that they cannot fill its memory."""
    if not settings.gpus:
        return {}
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if place >= settings.gpus:
        return {"env": {"CUDA_VISIBLE_DEVICES": ""}}
    device = visible[place % len(visible)] if visible else str(place)
    return {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": device}}


def _scheduler_options(settings: Cluster) -> dict[str, Any]:
    if settings.dashboard is False:
        return {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    port = 8787 if settings.dashboard is True else settings.dashboard
    return {"dashboard": True, "dashboard_address": f"127.0.0.1:{port}"}


@contextmanager
def _quiet_client(client: Client) -> Iterator[Client]:
    try:
        yield client
    finally:
        with muted(), suppress(TimeoutError, OSError):
            client.close(timeout=5)


def _await_worker(client: Client, settings: Cluster) -> None:
    """Wait for the first worker: a minute, or as long as the batch system lets its jobs wait, and say so meanwhile."""
    keeper = keeper_of(client)
    begin = said = time.monotonic()
    while True:
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=min(_LOOK_S, _SAY_S))
            return
        now = time.monotonic()
        if keeper is not None and (reason := keeper.over()):
            todo = "see the jobs' logs and `--dry-run`, which prints their script"
            raise BadInput("cluster", reason, todo=todo)
        if now - begin > _FIRST_WORKER_S and keeper is None:
            todo = "start workers: dask worker ADDRESS" if settings.address else "look at the workers' logs"
            raise BadInput("cluster", f"no worker came within {_FIRST_WORKER_S} s", todo=todo)
        if now - said >= _SAY_S and keeper is None:  # who keeps jobs up says more
            said = now
            log.warning("cluster: waiting for the first worker since %.0f s", now - begin)


def _environment(settings: Cluster) -> dict[str, Any]:
    """As many threads for compiled code as the worker has, and none of Dask's choices for the allocator.

    Set before anything is loaded there. A worker that is paused for its memory begins no block until others have let
    go of theirs: with one thread there are no others, and it would wait for ever.
    """
    names: Mapping[str, str] = dict.fromkeys(scripts.THREAD_VARIABLES, str(settings.threads))
    found: dict[str, Any] = {"distributed.nanny.pre-spawn-environ": dict(names)}
    if settings.threads == 1:
        found["distributed.worker.memory.pause"] = False
    return found
