"""What batches on Dask workers have returned, on its way to the driver."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future as Answer
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from blockwise.executor.base import Outcome

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

Fetched = list[Outcome] | BaseException | None
"""What a batch returned, or its error; None if it was cancelled, or lost with its worker."""

TOGETHER_S = 0.05
"""While many batches are out, those that end within this time are fetched in one message."""
_SOON_S = 0.002
_LOST_S = 5.0


class Arrivals:
    """Watches the futures of batches, and fetches what they return, many at a time.

    Dask could call back for each future, and wait for each before it fetches: a third of what a short task costs.
    Fetching never waits: a worker that has stopped with results on it delays those asked for together with them.
    """

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._out: dict[int, Any] = {}
        self._asked: dict[Answer[dict[str, Any]], dict[int, Any]] = {}
        self._swept_s = time.monotonic()

    def expect(self, serial: int, future: Any) -> None:
        """Watch one more batch, by its serial number."""
        self._out[serial] = future

    def forget(self) -> None:
        """Watch nothing any more, and have Dask forget it."""
        futures = [*self._out.values(), *(future for some in self._asked.values() for future in some.values())]
        self._out = {}
        self._asked = {}
        if not futures:
            return
        try:
            self._client.cancel(futures, force=True)
        except Exception as error:  # the scheduler may be gone, and then nothing is left to cancel
            log.debug("cancel: %s", error)

    def collect(self, timeout_s: float, are_many: bool) -> list[tuple[int, Fetched]]:
        """Batches that have ended, by their numbers, waiting for the first up to `timeout_s`.

        are_many: so many are out that workers do not wait for the driver, which can wait for more to end.
        """
        end = time.monotonic() + timeout_s
        pause_s = TOGETHER_S if are_many else _SOON_S
        while True:
            ended = self._ask()
            left_s = end - time.monotonic()
            if not ended and left_s > 0:
                self._rest(min(pause_s, left_s), are_many)
                pause_s = min(2 * pause_s, TOGETHER_S)
                ended = self._ask()
            ended += self._answered()
            if ended or left_s <= 0:
                return ended

    def _rest(self, seconds: float, are_many: bool) -> None:
        if self._asked and not are_many:
            wait(self._asked, seconds, "FIRST_COMPLETED")
        else:
            time.sleep(seconds)

    def _ask(self) -> list[tuple[int, Fetched]]:
        """Ask for what can be fetched; returns those that ended badly, for which there is nothing to ask."""
        sweeps = time.monotonic() - self._swept_s > _LOST_S
        if sweeps:
            self._swept_s = time.monotonic()
        finished: dict[int, Any] = {}
        bad: list[tuple[int, Fetched]] = []
        for serial, future in self._out.items():
            status = future.status
            if status == "finished":
                finished[serial] = future
            elif status != "pending" and (status != "lost" or sweeps):  # Dask makes what was lost again, if it can
                bad.append((serial, error_of(future)))
        for serial in (*finished, *(serial for serial, _ in bad)):
            del self._out[serial]
        if finished:
            fetching = fetch(self._client, [future.key for future in finished.values()])
            self._asked[asyncio.run_coroutine_threadsafe(fetching, self._client.loop.asyncio_loop)] = finished
        return bad

    def _answered(self) -> list[tuple[int, Fetched]]:
        """What has been fetched."""
        found: list[tuple[int, Fetched]] = []
        for answer in [answer for answer in self._asked if answer.done()]:
            futures = self._asked.pop(answer)
            data = {} if answer.cancelled() else answer.result()
            found += [(serial, outcomes_of(data.get(future.key))) for serial, future in futures.items()]
            release(self._client, futures.clear)
        return found


async def fetch(client: Any, keys: Sequence[str]) -> dict[str, Any]:
    """What the tasks returned, by their keys, through the scheduler; without those that are lost."""
    try:
        answer = await client.scheduler.gather(keys=keys)
        lost = set(answer.get("keys", ()))
        if lost:
            answer = await client.scheduler.gather(keys=[key for key in keys if key not in lost])
    except (OSError, RuntimeError, TimeoutError) as error:
        log.debug("gather: %s", error)
        return {}
    found: dict[str, Any] = answer.get("data", {})
    return found


def release(client: Any, clear: Callable[[], None]) -> None:
    """Drop futures within Dask's own thread, which is not waked for each of them then."""
    client.loop.add_callback(clear)


def outcomes_of(returned: bytes | None) -> list[Outcome] | None:
    """What a batch returned; None if it was lost."""
    from blockwise.executor.ondask.worker import unpacked

    return None if returned is None else unpacked(returned)


def error_of(future: Any) -> BaseException | None:
    """The error of a batch that ended badly; None if it was cancelled or lost."""
    try:
        error: BaseException | None = future.exception() if future.status == "error" else None
    except Exception as raised:
        return raised
    return error
