"""Workers on hosts that are reached over SSH: one for each host that is named, and a scheduler on the first."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from blockwise.cluster.batch.scripts import DEATH_S, ENDINGS
from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput

_ALONE = "blockwise.executor.ondask.alone"
"""What the scheduler loads first."""


def ssh_cluster(settings: Cluster, scheduler_options: dict[str, Any], loop: Any) -> Any:
    """A scheduler and workers, each a process that ends with its connection, or soon after its driver.

    They take over Dask's configuration, and nothing else of this process.
    """
    if importlib.util.find_spec("asyncssh") is None:
        raise BadInput("cluster.kind", "ssh needs the package asyncssh", todo="pip install asyncssh")
    from distributed.deploy import ssh
    from distributed.deploy.spec import SpecCluster

    common: dict[str, Any] = {"connect_options": {}, "remote_python": sys.executable}
    first, *hosts = settings.hosts
    options = {**scheduler_options, "preload": [_ALONE]}
    scheduler = {"cls": ssh.Scheduler, "options": {**common, "address": first, "kwargs": options}}
    workers = {
        place: {
            "cls": ssh.Worker,
            "options": {**common, "address": host, "kwargs": _worker_options(settings, place)},
        }
        for place, host in enumerate(hosts)
    }
    return SpecCluster(workers=workers, scheduler=scheduler, name="ssh", loop=loop)


def _worker_options(settings: Cluster, place: int) -> dict[str, Any]:
    """Of the nanny of one worker. place: among the hosts that have workers."""
    found: dict[str, Any] = {
        "nthreads": settings.threads,
        "memory_limit": settings.memory or "auto",
        "preload_nanny": [ENDINGS],
        "death_timeout": DEATH_S,
    }
    if not settings.gpus:
        return found
    hosts = settings.hosts[1:]
    if place >= settings.gpus:
        return {**found, "env": {"CUDA_VISIBLE_DEVICES": ""}}
    device = hosts[:place].count(hosts[place])
    return {**found, "resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": str(device)}}
