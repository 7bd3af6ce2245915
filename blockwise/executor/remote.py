"""What runs on a Dask worker: a batch of blocks of one stage."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from distributed import get_worker
from distributed.protocol.pickle import dumps, loads

from blockwise.executor.base import Outcome
from blockwise.executor.watchdog import watchdog
from blockwise.executor.work import run_block
from blockwise.stage import Grid, Stage
from blockwise.store import Store, open_store


@dataclass(frozen=True)
class Task:
    """A stage on its way to the workers. Its text shows no URL, for Dask logs the arguments of failed tasks."""

    stage: bytes = field(repr=False)
    url: str = field(repr=False)
    token: str
    """Another one for every start of a stage, so that workers keep nothing from one to the next."""


def as_task(stage: Stage, url: str, token: str) -> Task:
    """The stage and its store, fit to be sent."""
    return Task(dumps((stage, stage.grid())), url, token)


def work(task: Task, keys: tuple[int, ...], budget_s: float, deadline_s: float | None = None) -> list[Outcome]:
    """Process the blocks in order until the time is used up; those without an outcome were not begun.

    deadline_s: if a block takes longer, this process ends.
    """
    stage, grid = _stage(task)
    store = _store(task, os.getpid())
    alone = get_worker().state.nthreads == 1
    end = time.monotonic() + budget_s
    outcomes: list[Outcome] = []
    # No block begins after the budget, so one alarm does for all of them.
    with watchdog().bounded(None if deadline_s is None else deadline_s + (budget_s if len(keys) > 1 else 0)):
        for key in keys:
            if outcomes and time.monotonic() > end:
                break
            outcomes.append(run_block(stage, grid, key, store, alone=alone))
    return outcomes


@lru_cache(maxsize=1)
def _stage(task: Task) -> tuple[Stage, Grid]:
    """The stage, kept so that what it has cached serves all its blocks."""
    found: tuple[Any, Any] = loads(task.stage)
    return found


@lru_cache(maxsize=1)
def _store(task: Task, process: int) -> Store:  # noqa: ARG001 - a connection does not survive a fork
    """One connection a process and stage."""
    return open_store(task.url)
