"""Workers as jobs of SLURM, LSF or PBS, through dask-jobqueue (`srun` in an allocation would only make steps)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blockwise.errors import BadInput, one_line

if TYPE_CHECKING:
    from blockwise.cluster.settings import Cluster

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def job_script(settings: Cluster) -> str:
    """The scripts that would be submitted, one for each kind of worker; nothing is started."""
    package = _package()
    job = {"slurm": package.slurm.SLURMJob, "lsf": package.lsf.LSFJob, "pbs": package.pbs.PBSJob}[settings.kind]
    kinds = [has_gpu for has_gpu, count in ((False, settings.workers - settings.gpus), (True, settings.gpus)) if count]
    scripts = [
        job(scheduler="tcp://SCHEDULER:PORT", name="worker", **options(settings, has_gpu)).job_script()
        for has_gpu in kinds
    ]
    return "\n".join(script.strip() + "\n" for script in scripts)


def start(settings: Cluster, scheduler_options: dict[str, Any]) -> Any:
    """A cluster whose jobs are submitted: those without a GPU, then those with one."""
    package = _package()
    kind = {"slurm": package.SLURMCluster, "lsf": package.LSFCluster, "pbs": package.PBSCluster}[settings.kind]
    plain = settings.workers - settings.gpus
    try:
        cluster = kind(scheduler_options=scheduler_options, interface=settings.interface, **options(settings, False))
        cluster.scale(plain)
        if settings.gpus:
            spec = dict(cluster.new_spec)
            spec["options"] = {**spec["options"], **options(settings, True)}
            cluster.new_spec = spec
            cluster.scale(settings.workers)
    except (OSError, RuntimeError, ValueError) as error:
        raise BadInput("cluster", f"{settings.kind} jobs cannot be submitted ({one_line(str(error))})") from None
    return cluster


def options(settings: Cluster, has_gpu: bool) -> dict[str, Any]:
    """What dask-jobqueue wants to know of one job: one worker, with its threads and memory."""
    directives = [*settings.directives, *(settings.gpu_directives if has_gpu else ())]
    exported = [f"export {name}={settings.threads}" for name in THREAD_VARIABLES]
    if settings.threads == 1:  # see `open._environment`
        exported.append("export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False")
    chosen: dict[str, Any] = {
        "cores": settings.threads,
        "processes": 1,
        "memory": settings.memory,
        "walltime": settings.walltime,
        "queue": settings.queue,
        "job_extra_directives": directives,
        "job_script_prologue": [*exported, *settings.prologue],
        "worker_extra_args": ["--resources", "GPU=1"] if has_gpu else [],
        "job_name": "blockwise-gpu" if has_gpu else "blockwise",
    }
    if settings.account is not None:
        chosen["project" if settings.kind == "lsf" else "account"] = settings.account
    return {key: value for key, value in chosen.items() if value is not None}


def _package() -> Any:
    try:
        import dask_jobqueue
        import dask_jobqueue.lsf
        import dask_jobqueue.pbs
        import dask_jobqueue.slurm
    except ImportError:
        raise BadInput(
            "cluster.kind", "batch systems need the package dask-jobqueue", todo="pip install 'contraband[cluster]'"
        ) from None
    return dask_jobqueue
