"""What runs on a Dask worker: a batch of blocks of one stage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from distributed import get_worker
from distributed.protocol.pickle import dumps, loads

from blockwise.cluster.batch.walltime import left_s
from blockwise.executor.base import Outcome
from blockwise.executor.blocklog import block_log
from blockwise.executor.ondask.batching import LONGEST_S, TARGET_S
from blockwise.executor.ondask.watchdog import watchdog
from blockwise.executor.overlap import run_blocks
from blockwise.executor.workerlog import note_given
from blockwise.files.recent import recent
from blockwise.grid import Grid
from blockwise.stage import Stage
from blockwise.store import Store, open_store


@dataclass(frozen=True)
class PackedStage:
    """A stage on its way to the workers. Its text shows no URL, for Dask logs the arguments of failed tasks."""

    stage: bytes = field(repr=False)
    url: str = field(repr=False)
    token: str
    """Another one for every start of a stage, so that workers keep nothing from one to the next."""
    logs: str = ""
    """Folder where what is logged within blocks is kept; empty: nowhere."""


def pack_stage(stage: Stage, url: str, token: str, logs: Path | None) -> PackedStage:
    """The stage and its store, fit to be sent. logs: folder where what is logged within blocks is kept."""
    return PackedStage(dumps((stage, stage.grid())), url, token, "" if logs is None else str(logs))


def as_bytes(keys: Sequence[int]) -> bytes:
    """Keys as they are sent: Dask would look for tasks in anything else."""
    return np.array(keys, np.int64).tobytes()


def work(sent: PackedStage, packed_keys: bytes, deadline_s: float | None = None, needed_s: float = 0.0) -> bytes:
    """Process the blocks in order until the time of a batch is used up; returns the packed outcomes of those begun.

    deadline_s: if a block takes longer, this process ends. needed_s: no block begins with less time left to the job
    that this worker is in.
    """
    stage, grid = _stage(sent)
    store = _store(sent, os.getpid())
    block_log().into(Path(sent.logs) if sent.logs else None, is_worker=True)
    recent().begin(sent.token if stage.shares_chunks() else "")
    alone = get_worker().state.nthreads == 1
    keys = np.frombuffer(packed_keys, np.int64).tolist()
    if sent.logs:
        note_given(Path(sent.logs), stage.name, get_worker().address, keys)
    budget_s = LONGEST_S if stage.blocks_together() > 1 else TARGET_S
    # No block begins after that time, so one alarm does for all of them.
    with watchdog().bounded(None if deadline_s is None else deadline_s + (budget_s if len(keys) > 1 else 0)):
        return packed(list(run_blocks(stage, grid, _until(keys, budget_s, needed_s), store, alone=alone)))


def _until(keys: Sequence[int], seconds: float, needed_s: float) -> Iterator[int]:
    """The first key, and others as long as the time is not over; none if the job ends too soon."""
    end = time.monotonic() + seconds
    left = left_s()
    last = float("inf") if left is None else time.monotonic() + left - needed_s
    for place, key in enumerate(keys):
        now = time.monotonic()
        if now > last or (place and now > end):
            return
        yield key


def packed(outcomes: Sequence[Outcome]) -> bytes:
    """Outcomes as they are returned: Dask neither looks into bytes nor weighs what is in them."""
    found: bytes = dumps(list(outcomes))
    return found


def unpacked(returned: bytes) -> list[Outcome]:
    """What `packed` has packed."""
    found: list[Outcome] = loads(returned)
    return found


@lru_cache(maxsize=1)
def _stage(sent: PackedStage) -> tuple[Stage, Grid]:
    """The stage, kept so that what it has cached serves all its blocks."""
    found: tuple[Any, Any] = loads(sent.stage)
    return found


@lru_cache(maxsize=1)
def _store(sent: PackedStage, process: int) -> Store:  # noqa: ARG001 - a connection does not survive a fork
    """One connection a process and stage."""
    return open_store(sent.url)
