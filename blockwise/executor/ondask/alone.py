"""What a scheduler on another machine does first: it ends, and its workers with it, once nobody uses it any more.

Dask loads this file by its name there. A driver that was killed cannot end what it started over SSH, and sshd ends no
process because its connection is gone.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Scheduler

_LOOK_S = 2
_ALONE_S = 30
"""Without a client for so long it is over: clients that lost their connection come back within seconds."""
_watching: set[asyncio.Task[None]] = set()
"""A task that nobody holds may be collected in the middle."""


def dask_setup(scheduler: Scheduler) -> None:
    """Look again and again whether there is a client."""
    _watching.add(asyncio.get_running_loop().create_task(_watch(scheduler)))


async def _watch(scheduler: Scheduler) -> None:
    seen = time.monotonic()
    while scheduler.status.name not in ("closing", "closed", "failed"):
        if any(not name.startswith("fire-and-forget") for name in scheduler.clients):
            seen = time.monotonic()
        elif time.monotonic() - seen > _ALONE_S:
            await scheduler.close()
        await asyncio.sleep(_LOOK_S)
