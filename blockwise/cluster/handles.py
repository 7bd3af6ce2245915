"""File handles: as many as the system allows, and a refusal where these are too few."""

from __future__ import annotations

import resource
from pathlib import Path

from blockwise.errors import BadInput

_WANTED = 16_384
_DRIVER = 48
_A_WORKER = 12
"""Handles of this process for its own sake and for each worker: connections, pipes, what Dask watches them with."""


def allow_files(workers: int) -> None:
    """Let this process and its workers open as many files as may be; BadInput if these are too few for the workers.

    Dask would go on trying without a word.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    most = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    there = max(soft, most)
    needed = _open_now() + _DRIVER + _A_WORKER * workers
    if there < needed:
        raise BadInput(
            "cluster.workers",
            "the system lets a process open too few files for so many workers",
            got=f"ulimit -n {there}",
            wanted=f"at least {needed} for {workers}",
            todo="raise it with `ulimit -n`, or use fewer workers, or cluster.kind: none",
        )


def _open_now() -> int:
    """Files that this process has open."""
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 16
