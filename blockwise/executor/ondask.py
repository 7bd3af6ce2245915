"""Blocks on Dask workers, one future a batch."""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from blockwise.errors import one_line
from blockwise.executor.base import Outcome
from blockwise.executor.batching import TARGET_S, Batching
from blockwise.executor.pool import Pool
from blockwise.stage import Stage

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

_SWEEP_S = 5.0


@dataclass(frozen=True)
class _Batch:
    future: Any
    keys: tuple[int, ...]
    is_suspect: bool


class OnDask:
    """Sends blocks to the workers of a Dask cluster, in batches as large as the measured durations allow.

    A worker that dies takes all the batches with it that it held, and Dask cannot tell which of them was to blame.
    So their blocks are tried again one by one, few at a time, and only a worker lost then counts as a failed
    attempt of the block: a block that kills its worker is found out, its neighbours are not blamed.
    """

    def __init__(self, client: Client, store_url: str, promised: Mapping[str, float] | None = None) -> None:
        """promised: resources that workers not yet there will bring."""
        self.client: Any = client
        self._url = store_url
        self._pool = Pool(client, promised or {})
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._task: Any = None
        self._serial = 0
        self._reset()

    def check(self, stage: Stage) -> None:
        """Raise BadInput if no worker has the resources, or the store cannot be reached from one."""
        self._pool.check(stage, self._url)

    def start(self, stage: Stage) -> None:
        """Get ready for the blocks of this stage."""
        from blockwise.executor.remote import as_task

        self.cancel()
        self._reset()
        self._pool.need(stage.resources())
        self._task = as_task(stage, self._url, uuid.uuid4().hex[:8])

    @property
    def capacity(self) -> int:
        """Blocks to be out at a time: a batch or two for every thread."""
        return self._batching.size() * self._batching.window(self._pool.slots())

    def submit(self, stage: Stage, keys: Sequence[int], attempt: int) -> None:
        """Queue the blocks, and send what workers have room for."""
        if attempt == 1:
            self._waiting.extend(keys)
        else:
            for key in keys:
                (self._suspects if key in self._lost else self._single).append(key)
        self._send(stage)

    def collect(self, timeout_s: float) -> list[Outcome]:
        """What has ended, waiting for the first up to `timeout_s`."""
        end = time.monotonic() + timeout_s
        serials: list[int] = []
        try:
            serials.append(self._ended.get(timeout=max(0.0, end - time.monotonic())))
            while True:
                serials.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        serials += self._sweep()
        batches = [self._out.pop(serial) for serial in dict.fromkeys(serials) if serial in self._out]
        outcomes = [outcome for batch in batches for outcome in self._outcomes(batch)]
        if self._stage is not None:
            self._send(self._stage)
        return outcomes

    def workers_alive(self) -> int:
        """Workers that have what the stage needs."""
        return self._pool.alive()

    def cancel(self) -> None:
        """Forget everything that is out; blocks being processed go on to their end."""
        futures = [batch.future for batch in self._out.values()]
        if futures:
            try:
                self.client.cancel(futures, force=True)
            except Exception as error:  # the scheduler may be gone, and then nothing is left to cancel
                log.debug("cancel: %s", error)
        self._reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.cancel()

    def _reset(self) -> None:
        self._stage: Stage | None = None
        self._batching = Batching()
        self._waiting: deque[int] = deque()
        self._single: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._lost: set[int] = set()
        self._out: dict[int, _Batch] = {}
        self._swept_s = time.monotonic()

    def _send(self, stage: Stage) -> None:
        self._stage = stage
        if self.client.status != "running":
            return  # the blocks wait for the scheduler to come back, or for the run to lose its patience
        window = self._batching.window(self._pool.slots())
        suspects = sum(batch.is_suspect for batch in self._out.values())
        while self._suspects and suspects < max(1, self._pool.alive() // 8):
            self._send_batch((self._suspects.popleft(),), True)
            suspects += 1
        while self._single and len(self._out) < window:
            self._send_batch((self._single.popleft(),), False)
        while self._waiting and len(self._out) < window:
            share = -(-len(self._waiting) // (window - len(self._out)))
            size = min(self._batching.size(), share)
            self._send_batch(tuple(self._waiting.popleft() for _ in range(size)), False)

    def _send_batch(self, keys: tuple[int, ...], is_suspect: bool) -> None:
        from blockwise.executor.remote import work

        assert self._stage is not None
        self._serial += 1
        serial = self._serial
        future = self.client.submit(
            work, self._task, keys, TARGET_S, key=f"{self._stage.name}-{keys[0]}-{self._task.token}-{serial}",
            pure=False, retries=0, resources=self._stage.resources() or None,
        )
        self._out[serial] = _Batch(future, keys, is_suspect)
        future.add_done_callback(lambda _: self._ended.put(serial))

    def _sweep(self) -> list[int]:
        """Futures that have ended without a word, as when the connection was lost for a while."""
        now = time.monotonic()
        if now - self._swept_s < _SWEEP_S:
            return []
        self._swept_s = now
        return [serial for serial, batch in self._out.items() if batch.future.status != "pending"]

    def _outcomes(self, batch: _Batch) -> list[Outcome]:
        status = batch.future.status
        if status == "finished":
            try:
                outcomes: list[Outcome] = batch.future.result()
            except Exception as error:
                return self._ended_badly(batch, error)
            for outcome in outcomes:
                self._batching.learn(outcome.wall_seconds)
            begun = {outcome.key for outcome in outcomes}
            self._waiting.extendleft(key for key in reversed(batch.keys) if key not in begun)
            return outcomes
        if status == "error":
            return self._ended_badly(batch, batch.future.exception())
        return self._blame(batch, f"the future was {status}")

    def _ended_badly(self, batch: _Batch, error: BaseException) -> list[Outcome]:
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return self._blame(batch, f"worker {error.last_worker.address} died with the block (memory?)")
        if not isinstance(error, Exception) or type(error).__name__ in ("CancelledError", "FutureCancelledError"):
            return self._blame(batch, one_line(f"{type(error).__name__}: {error}"))
        text = one_line(f"{type(error).__name__}: {error}")
        return [Outcome(key, False, text) for key in batch.keys]

    def _blame(self, batch: _Batch, why: str) -> list[Outcome]:
        """A failed attempt if the block was alone and under suspicion already, else it is put under suspicion."""
        self._lost.update(batch.keys)
        if batch.is_suspect:
            return [Outcome(key, False, why) for key in batch.keys]
        log.warning("%s; its %d blocks are tried again one by one", why, len(batch.keys))
        self._suspects.extend(batch.keys)
        return []
