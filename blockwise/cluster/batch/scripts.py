"""What is submitted to batch systems, through dask-jobqueue (`srun` in an allocation would only make steps)."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from blockwise.cluster.batch.walltime import ALLOWED, BEGAN, seconds_of
from blockwise.cluster.configuration import SAMPLING, exported
from blockwise.cluster.interrupts import handlers_kept
from blockwise.errors import BadInput

if TYPE_CHECKING:
    from blockwise.cluster.settings import Cluster

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

GROUPS = ("", "GPU")
"""Kinds of jobs, by the Dask resource that their workers have."""
_CLASSES = {
    "slurm": ("slurm", "SLURM"),
    "lsf": ("lsf", "LSF"),
    "pbs": ("pbs", "PBS"),
    "sge": ("sge", "SGE"),
    "oar": ("oar", "OAR"),
    "htcondor": ("htcondor", "HTCondor"),
}
"""Module of dask-jobqueue, and how its classes begin."""
_GPU_DIRECTIVES = {
    "slurm": ("--gres=gpu:1",),
    "lsf": ("-gpu num=1",),
    "sge": ("-l gpu=1",),
    "htcondor": ("request_gpus = 1",),
}
"""Where there is one usual way to ask for a GPU."""
_DISK = "2GB"
"""HTCondor wants to know; workers write nothing beside their logs."""
_PRELOAD = "blockwise.executor.ondask.remaining"
ENDINGS = "blockwise.executor.ondask.endings"
"""What workers and their nannies load first."""
_TOO_LATE = "import socket; socket.create_connection(('{host}', {port}), 20).close()"
DEATH_S = 45
"""A worker without a scheduler ends itself after so long."""


def job_script(settings: Cluster) -> str:
    """The scripts that would be submitted, one for each kind of worker; nothing is started."""
    job = job_class(settings.kind)
    scripts = [
        job(scheduler="tcp://SCHEDULER:PORT", name="worker", **options(settings, group)).job_script()
        for group, (_, most) in group_sizes(settings).items()
        if most
    ]
    return "\n".join(script.strip() + "\n" for script in scripts)


def group_sizes(settings: Cluster) -> dict[str, tuple[int, int]]:
    """The least and the most jobs of each group."""
    sizes = (settings.least_workers - settings.gpus, settings.most_workers - settings.gpus)
    return {"": (max(0, sizes[0]), sizes[1]), "GPU": (settings.gpus, settings.gpus)}


def job_class(kind: str) -> Any:
    """Of dask-jobqueue: one job; BadInput if that is not installed."""
    return _found(kind, "Job")


def cluster_class(kind: str) -> Any:
    """Of dask-jobqueue: a scheduler, and where jobs find it."""
    return _found(kind, "Cluster")


def options(settings: Cluster, group: str, scheduler: str = "") -> dict[str, Any]:
    """What dask-jobqueue wants to know of one job: one worker, with its threads and memory.

    scheduler: its address; a job that starts when nothing listens there any more ends at once.
    """
    has_gpu = group == "GPU"
    kind = settings.kind
    asked = settings.gpu_directives if settings.gpu_directives is not None else _GPU_DIRECTIVES.get(kind, ())
    directives: Any = [*settings.directives, *(asked if has_gpu else ())]
    if kind == "htcondor":
        directives = dict(line.replace(" = ", "=").split("=", 1) for line in directives)
    resources = ["--resources", "GPU=1"] if has_gpu else []
    chosen: dict[str, Any] = {
        "cores": settings.threads,
        "processes": 1,
        "memory": settings.memory,
        "job_extra_directives": directives,
        "job_script_prologue": _prologue(settings, scheduler),
        "worker_extra_args": ["--preload", _PRELOAD, "--preload-nanny", ENDINGS, *resources],
        "job_name": "blockwise-gpu" if has_gpu else "blockwise",
        "death_timeout": DEATH_S,
        "log_directory": None if settings.job_logs is None else str(settings.job_logs.absolute()),
    }
    if kind == "htcondor":
        chosen["disk"] = _DISK
    else:
        chosen["walltime"] = _written(settings)
        chosen["queue"] = settings.queue
        chosen["account" if kind in ("slurm", "pbs") else "project"] = settings.account
    if kind == "oar":  # how it calls memory differs from site to site
        chosen["memory_per_core_property_name"] = "not_applicable"
    return {key: value for key, value in chosen.items() if value is not None}


def walltime_s(settings: Cluster) -> float | None:
    """Seconds that a job may take: the ones given, or dask-jobqueue's own; None if there is no limit we know of."""
    import dask

    text = settings.walltime or dask.config.get(f"jobqueue.{settings.kind}.walltime", None)
    return seconds_of(text, settings.kind)


def _written(settings: Cluster) -> str | None:
    """The longest time as the batch system wants it: LSF has no seconds."""
    seconds = seconds_of(settings.walltime, settings.kind)
    if settings.kind != "lsf" or seconds is None:
        return settings.walltime
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _prologue(settings: Cluster, scheduler: str) -> list[str]:
    """Lines that each job runs before its worker."""
    told: dict[str, object] = dict(SAMPLING)
    if settings.threads == 1:  # see `open._environment`
        told["distributed.worker.memory.pause"] = False
    lines = [*(f"export {name}={settings.threads}" for name in THREAD_VARIABLES), *exported(told)]
    lines.append(f"export {BEGAN}=`date +%s`")  # backquotes, as HTCondor takes $(...) for its own
    allowed_s = walltime_s(settings)
    if allowed_s is not None:
        lines.append(f"export {ALLOWED}={allowed_s:.0f}")
    if scheduler:
        found = urlsplit(scheduler)
        test = _TOO_LATE.format(host=found.hostname, port=found.port)
        lines.append(f'{sys.executable} -c "{test}" || {{ echo "the run that wanted this worker is over"; exit 0; }}')
    return [*lines, *settings.prologue]


def _found(kind: str, suffix: str) -> Any:
    module, name = _CLASSES[kind]
    try:
        import importlib

        with handlers_kept():
            import dask_jobqueue  # noqa: F401 - it brings its part of Dask's configuration
    except ImportError:
        raise BadInput(
            "cluster.kind", "batch systems need the package dask-jobqueue", todo="pip install 'contraband[cluster]'"
        ) from None
    return getattr(importlib.import_module(f"dask_jobqueue.{module}"), name + suffix)
