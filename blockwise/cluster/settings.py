"""Where blocks are processed: the section `cluster` of a settings file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from blockwise.cluster.address import is_loopback, scheduler_address
from blockwise.fields import Count, Memory, Positive, Text, Walltime
from blockwise.settings import Settings

BATCH_SYSTEMS = ("slurm", "lsf", "pbs")


class Cluster(Settings):
    """Where blocks are processed.

    Example:
        Cluster(workers=4)
        Cluster(kind="slurm", workers=16, memory="8GB", walltime="04:00:00")
    """

    kind: Literal["local", "none", "inline", "slurm", "lsf", "pbs", "ssh"] = "local"
    """`none` (or `inline`) is this very process, without Dask."""
    workers: Positive = 2
    """Worker processes; for a batch system, jobs of one worker each."""
    threads: Positive = 1
    """Threads of a worker: so many blocks at a time, and so many threads for compiled code."""
    memory: Memory | None = None
    """Memory of a worker, such as "8GB"; null: an equal share of this machine's."""
    deadline_s: Annotated[float, Field(gt=0)] | None = 3600
    """A block that takes longer, and 20 times as long as the longest of its stage so far, is taken to hang: its worker
    ends, and the block counts as failed once it did so alone. Not for stages of one block; null: never."""
    lost_s: Annotated[float, Field(gt=0)] = 30
    """A worker that says nothing for so long, and uses no processor time either, is given up: stopped, suspended, or on
    a machine that is. One that is only busy inside compiled code is left alone."""
    chain: bool | Literal["auto"] = "auto"
    """Whether predict, fragments and edges run at the same time, block by block; auto: if only some workers predict."""
    gpus: Count = 0
    """So many of the workers have a GPU each (the Dask resource GPU); stages that predict go only there."""
    address: Annotated[str | None, AfterValidator(scheduler_address)] = None
    """Scheduler to join, such as tcp://host:8786; all settings that start workers are then unused."""
    hosts: tuple[str, ...] = ()
    """For ssh: the first runs the scheduler, the others the workers."""
    dashboard: bool | Annotated[int, Field(ge=0, le=65535)] = True
    """Port of the dashboard on 127.0.0.1; true: 8787, or a free one if that is taken; false: none."""
    interface: str | None = None
    """For batch systems: network interface of the scheduler, such as ib0."""
    queue: Text | None = None
    """For batch systems: queue or partition of the jobs."""
    account: Text | None = None
    """For batch systems: whose account the jobs are charged to."""
    walltime: Walltime | None = None
    """Longest time of a job, such as 04:00:00."""
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
        return is_loopback(self.address)

    @property
    def in_process(self) -> bool:
        """Whether blocks run in this process, without Dask."""
        return self.address is None and self.kind in ("none", "inline")

    def promised(self) -> dict[str, float]:
        """Resources that workers will bring once their jobs start."""
        return {"GPU": 1.0} if self.gpus and self.kind in BATCH_SYSTEMS and self.address is None else {}
