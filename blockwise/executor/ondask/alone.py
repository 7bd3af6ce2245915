"""What a scheduler on another machine does first: it ends, and its workers with it, once nobody uses it any more.

Dask loads this file by its name there. A driver that was killed cannot end what it started over SSH, and sshd ends no
process because its connection is gone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Scheduler

_LOOK_MS = 2000
_ALONE_S = 30
"""Without a client for so long it is over: clients that lost their connection come back within seconds."""


def dask_setup(scheduler: Scheduler) -> None:
    """Look again and again whether there is a client."""
    from tornado.ioloop import PeriodicCallback

    seen = time.monotonic()

    async def look() -> None:
        nonlocal seen
        if any(not name.startswith("fire-and-forget") for name in scheduler.clients):
            seen = time.monotonic()
        elif time.monotonic() - seen > _ALONE_S:
            await scheduler.close()

    scheduler.periodic_callbacks["alone"] = PeriodicCallback(look, _LOOK_MS)
    scheduler.periodic_callbacks["alone"].start()
