"""Where blocks are processed: the section `cluster` of a settings file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PlainValidator, ValidationError, model_validator

from blockwise.cluster.address import is_loopback, scheduler_address
from blockwise.errors import BadInput
from blockwise.fields import Count, Memory, Place, Positive, Text, Walltime
from blockwise.settings import Settings

BATCH_SYSTEMS = ("slurm", "lsf", "pbs", "sge", "oar", "htcondor")
FEW_VOXELS = 20_000_000
"""A volume of fewer is done before workers have paid for their start."""
LEAST_WORKER_BYTES = 100_000_000
"""A worker takes more than this before it has begun anything: one with less is ended by its nanny again and again."""
JOINED_WORKER_BYTES = 4_000_000_000
"""What a worker of a scheduler that others started is taken to have."""
_GPUS_BY_DIRECTIVE = ("pbs", "oar")
"""Where each site has its own way to ask for a GPU."""


class WorkerRange(Settings):
    """How many workers there are, following the work that is left."""

    min: Positive = 1
    """There are never fewer."""
    max: Positive
    """There are never more."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min must be at most max, got {self.min} and {self.max}")
        return self


class Tls(Settings):
    """Certificates of the user's own, for all roles."""

    ca: Place
    """PEM file of the authority that has signed the certificates of all who may take part."""
    cert: Place
    """PEM file of the certificate."""
    key: Place
    """PEM file of its key, which only the user should be able to read."""


def _number_or_range(value: object) -> int | WorkerRange:
    """Either, with one message for both, where pydantic would tell what is wrong with each."""
    if isinstance(value, WorkerRange | Mapping):
        return _parsed(WorkerRange, value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("must be a number greater than 0, or a range such as {min: 2, max: 64}")
    return value


def _files_or_not(value: object) -> bool | Tls:
    if isinstance(value, Tls | Mapping):
        return _parsed(Tls, value)
    if not isinstance(value, bool):
        raise ValueError("must be true, false, or files such as {ca: ca.pem, cert: cert.pem, key: key.pem}")
    return value


def _parsed[Section: Settings](kind: type[Section], value: Section | Mapping[str, object]) -> Section:
    """Settings from plain data; raises ValueError naming the key."""
    if isinstance(value, kind):
        return value
    try:
        return kind.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(name) for name in first["loc"])
        raise ValueError(f"{key}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from None


def _port_or_not(value: object) -> bool | int:
    if not isinstance(value, int) or not 0 <= value <= 65535:
        raise ValueError("must be true, false, or a port from 0 to 65535")
    return value


def _yes_no_or_auto(value: object) -> bool | Literal["auto"]:
    if isinstance(value, bool):
        return value
    if value != "auto":
        raise ValueError("must be true, false, or auto")
    return "auto"


ChainChoice = Annotated[
    bool | Literal["auto"], PlainValidator(_yes_no_or_auto, json_schema_input_type=bool | Literal["auto"])
]
Dashboard = Annotated[
    bool | int,
    PlainValidator(_port_or_not, json_schema_input_type=bool | Annotated[int, Field(ge=0, le=65535)]),
]
Workers = Annotated[
    Positive | WorkerRange, PlainValidator(_number_or_range, json_schema_input_type=Positive | WorkerRange)
]
Certificates = Annotated[bool | Tls, PlainValidator(_files_or_not, json_schema_input_type=bool | Tls)]


class Cluster(Settings):
    """Where blocks are processed.

    Example:
        Cluster(workers=4)
        Cluster(kind="slurm", workers=16, memory="8GB", walltime="04:00:00")
        Cluster(kind="slurm", workers=WorkerRange(min=2, max=64), memory="8GB")
    """

    kind: Literal["auto", "local", "none", "inline", "slurm", "lsf", "pbs", "sge", "oar", "htcondor", "ssh"] = "auto"
    """`none` (or `inline`) is this very process, without Dask; auto: this process for a volume of fewer than 20 million
    voxels if no other key of this section is given, else `local`, Dask workers on this machine."""
    workers: Workers = 2
    """Worker processes; for a batch system, jobs of one worker each, which are kept up: those that end are replaced.
    There also a range such as {min: 2, max: 64}: so many as have at least a minute's work left."""
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
    chain: ChainChoice = "auto"
    """Whether predict, fragments and edges run at the same time, block by block; auto: if only some workers predict."""
    gpus: Count = 0
    """So many of the workers have a GPU each (the Dask resource GPU); stages that predict go only there."""
    address: Annotated[str | None, AfterValidator(scheduler_address)] = None
    """Scheduler to join, such as tcp://host:8786; all settings that start workers are then unused."""
    tls: Certificates = True
    """Who may talk to scheduler and workers on other machines. true: those with certificates made for the run (at an
    address: with those of Dask's own configuration); {ca: FILE, cert: FILE, key: FILE}: those with such; false: all."""
    shared_folder: Place | None = None
    """Folder that all machines see, where the certificates of a run are kept while it goes on, readable by nobody else;
    null: the home folder, or dask-jobqueue's shared-temp-directory."""
    hosts: tuple[str, ...] = ()
    """For ssh: the first runs the scheduler, each other a worker, one that is named again another one; how one logs in
    is said by ~/.ssh."""
    dashboard: Dashboard = True
    """Port of the dashboard on 127.0.0.1; true: 8787, or a free one if that is taken; false: none."""
    interface: str | None = None
    """For batch systems: network interface of the scheduler, such as ib0."""
    queue: Text | None = None
    """For batch systems: queue or partition of the jobs."""
    account: Text | None = None
    """For batch systems: whose account the jobs are charged to."""
    walltime: Walltime | None = None
    """Longest time of a job, such as 04:00:00. No block is begun that would not be done in time."""
    directives: tuple[str, ...] = ()
    """Further lines of the job script's header, such as "--constraint=haswell"."""
    gpu_directives: tuple[str, ...] | None = None
    """Those of jobs with a GPU; null: the usual ones, such as --gres=gpu:1 for slurm; pbs and oar have none."""
    prologue: tuple[str, ...] = ()
    """Shell lines run in each job before the worker starts, such as "module load cuda"."""
    job_logs: Place | None = None
    """For batch systems: folder of what jobs write; null: where the batch system puts it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "ssh" and self.address is None:
            self._check_hosts()
        if self.gpus > self.most_workers:
            raise ValueError(f"gpus must be at most workers, got {self.gpus} of {self.most_workers}")
        if self.kind in BATCH_SYSTEMS and self.memory is None and self.address is None:
            raise ValueError(f'memory must be given for kind {self.kind}, for example "8GB"')
        self._check_jobs()
        return self

    def _check_hosts(self) -> None:
        if len(self.hosts) < 2:
            raise ValueError("hosts must name two hosts or more (a scheduler, then workers) for kind ssh")
        if "workers" in self.model_fields_set and self.workers != self.most_workers:
            todo = "name a host several times for several workers there"
            raise ValueError(f"workers must be {self.most_workers}, one for each host after the first; {todo}")

    def _check_jobs(self) -> None:
        if self.address is not None:
            return
        if self.kind not in BATCH_SYSTEMS and isinstance(self.workers, WorkerRange):
            raise ValueError(f"workers must be a number for kind {self.kind}; only jobs of batch systems come and go")
        if self.gpus and self.kind in _GPUS_BY_DIRECTIVE and self.gpu_directives is None:
            raise ValueError(f"gpu_directives must say how jobs of {self.kind} ask for a GPU here")
        if self.kind == "htcondor":
            for name in ("queue", "account", "walltime"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} means nothing to htcondor; use directives, such as 'name = value'")
            wrong = [line for line in (*self.directives, *(self.gpu_directives or ())) if "=" not in line]
            if wrong:
                raise ValueError(f"directives for htcondor read 'name = value', got {wrong[0]!r}")

    def decided(self, voxels: int) -> Cluster:
        """The same with a kind that is not `auto`, for a volume of so many voxels."""
        if self.kind != "auto":
            return self
        wants_workers = self.is_asked_for or voxels >= FEW_VOXELS
        return self.model_copy(update={"kind": "local" if wants_workers else "none"})

    @property
    def is_asked_for(self) -> bool:
        """Whether any key but the kind is given, so that there shall be workers, however small the volume."""
        return self.address is not None or bool(self.model_fields_set - {"kind"})

    @property
    def full_address(self) -> str | None:
        """The scheduler to join, with the scheme that certificates make necessary."""
        if self.address is None or not isinstance(self.tls, Tls):
            return self.address
        return self.address.replace("tcp://", "tls://", 1)

    @property
    def most_workers(self) -> int:
        """Workers at most."""
        if self.kind == "ssh" and self.address is None:
            return len(self.hosts) - 1
        return self.workers.max if isinstance(self.workers, WorkerRange) else self.workers

    @property
    def least_workers(self) -> int:
        """Workers at least."""
        if self.kind == "ssh" and self.address is None:
            return self.most_workers
        return self.workers.min if isinstance(self.workers, WorkerRange) else self.workers

    @property
    def worker_bytes(self) -> int:
        """Memory of a worker: as given, else an equal share of this machine's."""
        import psutil

        if self.memory is not None:
            return self.memory
        return int(psutil.virtual_memory().total / (1 if self.in_process else self.most_workers))

    def check_memory(self) -> None:
        """Raise BadInput if workers on this machine would have less memory than one takes by itself."""
        if self.kind != "local" or self.address is not None or self.worker_bytes >= LEAST_WORKER_BYTES:
            return
        key, todo = ("memory", "raise it") if self.memory is not None else ("workers", "use fewer")
        got = f"{self.worker_bytes / 1e6:g} MB for each of {self.most_workers}"
        wanted = f"at least {LEAST_WORKER_BYTES // 1_000_000} MB"
        raise BadInput(f"cluster.{key}", "leaves workers too little memory", got=got, wanted=wanted, todo=todo)

    @property
    def share_bytes(self) -> int:
        """Half of a worker's memory, shared by its threads: what one large thing in it may take.

        A worker of a scheduler that others started is taken to have 4 GB if `memory` does not say.
        """
        told = self.address is None or self.memory is not None
        return (self.worker_bytes if told else JOINED_WORKER_BYTES) // (2 * self.threads)

    @property
    def is_local(self) -> bool:
        """Whether all workers are on this machine, so that SQLite will do."""
        if self.address is None:
            return self.kind in ("auto", "local", "none", "inline")
        return is_loopback(self.address)

    @property
    def in_process(self) -> bool:
        """Whether blocks run in this process, without Dask."""
        return self.address is None and self.kind in ("none", "inline")

    def promised(self) -> dict[str, float]:
        """Resources that workers will bring once their jobs start."""
        return {"GPU": 1.0} if self.gpus and self.kind in BATCH_SYSTEMS and self.address is None else {}
