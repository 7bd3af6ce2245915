"""Blocks on Dask workers, one future a batch."""

from __future__ import annotations

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from blockwise.errors import WorkFailed, one_line
from blockwise.executor.base import Outcome
from blockwise.executor.ondask.arrivals import Arrivals, Fetched
from blockwise.executor.ondask.batching import LIMIT
from blockwise.executor.ondask.lane import BlockBatch, Lane
from blockwise.executor.ondask.losses import Loss, Losses
from blockwise.executor.ondask.pool import Pool
from blockwise.executor.ondask.silence import LOST_S
from blockwise.stage import Stage

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

_MANY = 100
"""So many batches keep all workers busy while the driver waits a moment for more of them to end."""


@dataclass(frozen=True)
class _Sent:
    serial: int
    lane: Lane
    batch: BlockBatch
    at_s: float
    deadline_s: float | None


class OnDask:
    """Sends blocks to the workers of a Dask cluster, in batches as large as the measured durations allow.

    A worker that dies takes all the batches with it that it held, and Dask cannot tell which of them was to blame.
    So their blocks are tried again one by one, few at a time, and only a worker lost then counts as a failed
    attempt of the block: a block that kills its worker is found out, its neighbours are not blamed. A worker whose
    block takes longer than its deadline ends itself, and its blocks are met in the same way.

    Example:
        with open_cluster(Cluster(workers=2)) as client, OnDask(client, store.url) as executor:
            run_stages([stage], store, executor)
    """

    def __init__(
        self,
        client: Client,
        store_url: str,
        promised: Mapping[str, float] | None = None,
        *,
        deadline_s: float | None = None,
        lost_s: float = LOST_S,
        batch_limit: int = LIMIT,
    ) -> None:
        """promised: resources that workers not yet there will bring. deadline_s: a block that takes longer, and far
        longer than all others of its stage so far, hangs; None: never. lost_s: a worker that says nothing for so long,
        and computes nothing, is restarted. batch_limit: blocks in a batch at most."""
        self.client: Any = client
        self._url = store_url
        self._pool = Pool(client, promised or {}, lost_s)
        self._deadline_s = deadline_s
        self._limit = batch_limit
        self._arrivals = Arrivals(client)
        self._lanes: dict[str, Lane] = {}
        self._out: dict[int, _Sent] = {}
        self._losses = Losses(self._pool.fate)
        self._serial = 0
        self._logs: Path | None = None

    def keep_logs(self, folder: Path) -> None:
        """Keep what is logged within blocks in this folder, which all workers see; from the next start on."""
        self._logs = folder
        self._pool.lost.into(folder)

    def check(self, stage: Stage) -> None:
        """Raise BadInput if no worker has the resources, or the store cannot be reached from one."""
        self._pool.check(stage, self._url)

    def start(self, *stages: Stage) -> None:
        """Get ready for the blocks of these stages, in the order of the line."""
        from blockwise.executor.ondask.worker import pack_stage

        self.cancel()
        token = uuid.uuid4().hex[:8]
        self._lanes = {
            stage.name: Lane(stage, pack_stage(stage, self._url, token, self._logs), place, self._limit)
            for place, stage in enumerate(stages)
        }

    def capacity(self, stage: Stage) -> int:
        """Blocks of the stage to be out at a time: a batch or two for every thread."""
        lane = self._lanes[stage.name]
        return lane.batching.size() * lane.batching.window(self._pool.slots(lane.needs, self._places(lane)))

    def expect(self, left: Mapping[str, int]) -> None:
        """Have as many workers as the blocks that are left need. left: their numbers, by the name of the stage."""
        seconds: dict[str, float] = defaultdict(float)
        for name, blocks in left.items():
            lane = self._lanes[name]
            lane.left = blocks
            seconds["GPU" if lane.needs else ""] += blocks * lane.block_s(time.monotonic())
        self._pool.follow(seconds)

    def submit(self, stage: Stage, keys: Sequence[int], attempt: int) -> None:
        """Queue the blocks, and send what workers have room for."""
        lane = self._lanes[stage.name]
        lane.add(keys, attempt)
        self._send(lane)

    def collect(self, timeout_s: float) -> list[Outcome]:
        """What has ended, waiting for the first up to `timeout_s`."""
        # Noted before results come in: a lane whose last block has just ended counts as busy until the driver has had
        # its turn to send more, so that its workers are not given away in between.
        for lane in self._lanes.values():
            lane.under_way = lane.is_busy
        ended = []
        for serial, result in self._arrivals.collect(timeout_s, len(self._out) > _MANY):
            ended.append((self._out.pop(serial), result))
        # Durations are learnt from all that has ended before anything is sent, so that new batches have the right size.
        outcomes = self._outcomes(ended) + self._settled()
        self._pool.lost.settle()
        for lane in self._lanes.values():
            self._send(lane)
        return outcomes

    def workers_alive(self) -> int:
        """Workers that have what is needed by the stage that has the fewest of them."""
        needs = [lane.needs for lane in self._lanes.values() if lane.is_busy]
        return min((self._pool.alive(one) for one in needs), default=self._pool.alive({}))

    def cancel(self) -> None:
        """Forget everything that is out; blocks being processed go on to their end."""
        self._arrivals.forget()
        self._losses.forget()
        self._lanes = {}
        self._out = {}

    def __enter__(self) -> Self:
        self._pool.lost.listen(self.client)
        return self

    def __exit__(self, *error: object) -> None:
        self.cancel()
        self._pool.lost.settle(0.0)

    def _send(self, lane: Lane) -> None:
        if self.client.status != "running":
            return  # the blocks wait for the scheduler to come back, or for the run to lose its patience
        places = self._places(lane)
        if places is not None and not places:
            return  # the jobs of all workers soon end; others are on their way
        batches = lane.next_batches(self._pool.slots(lane.needs, places), self._pool.alive(lane.needs))
        if batches:
            self._send_batches(lane, batches, places)

    def _places(self, lane: Lane) -> list[str] | None:
        """The workers to be used, empty if there are none at present; None: any.

        As long as another stage of the chain keeps workers with a GPU busy, they are left to it. Those whose jobs end
        before a block would are left alone, and replaced if no stage has any use for them.
        """
        scarce = {name for other in self._lanes.values() if other.under_way for name in other.needs}
        places = self._pool.without(scarce) or None if scarce and not lane.needs else None
        late = self._pool.late(lane.batching.needed_s())
        if not late:
            return places
        shorter = [other.batching.needed_s() for other in self._lanes.values() if other.is_busy]
        self._pool.release(self._pool.late(min(shorter, default=0.0)))
        self._check_walltime(lane)
        return [address for address in (places or self._pool.without(())) if address not in late]

    def _check_walltime(self, lane: Lane) -> None:
        """Raise WorkFailed if jobs are too short for a block: workers would come and go for ever."""
        most = self._pool.walltime_s
        if most is not None and (lane.batching.needed_s() > most or self._pool.are_hopeless):
            raise WorkFailed(
                f"{lane.stage.name}: no block can be done in time, as jobs end after {most:.0f} s and the longest one "
                f"took {lane.batching.longest_s:.0f} s so far; what is finished is kept; raise cluster.walltime, "
                "or use smaller blocks"
            )

    def _send_batches(self, lane: Lane, batches: Sequence[BlockBatch], places: list[str] | None) -> None:
        """All in one message, which is much cheaper than one each."""
        from blockwise.executor.ondask.worker import as_bytes, work

        serials = range(self._serial, self._serial + len(batches))
        self._serial += len(batches)
        # The only block of a stage has none to be compared with, and may take hours.
        deadline_s = lane.batching.deadline_s(self._deadline_s) if lane.stage.grid().count > 1 else None
        # Names tell the dashboard what runs; the serial number makes them new, as Dask takes equal names for equal
        # results.
        names = [
            f"{lane.stage.name}-{batch.keys[0]}-{lane.packed.token}-{serial}"
            for serial, batch in zip(serials, batches, strict=True)
        ]
        count, now = len(batches), time.monotonic()
        futures = self.client.map(
            work,
            [lane.packed] * count,
            [as_bytes(batch.keys) for batch in batches],
            [deadline_s] * count,
            [lane.batching.needed_s()] * count,
            key=names,
            pure=False,
            # Dask must not try again by itself: it cannot tell which block of a batch was to blame, and counts no
            # attempts.
            retries=0,
            resources=lane.needs or None,
            priority=lane.place,
            workers=places,
            allow_other_workers=places is not None,  # they may have died by then
        )
        for serial, batch, future in zip(serials, batches, futures, strict=True):
            self._out[serial] = _Sent(serial, lane, batch, now, deadline_s)
            lane.out[serial] = batch
            self._arrivals.expect(serial, future)

    def _outcomes(self, ended: Sequence[tuple[_Sent, Fetched]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for sent, result in ended:
            if not isinstance(result, list):
                outcomes += self._ended_badly(sent, result)
                continue
            sent.lane.out.pop(sent.serial, None)
            for outcome in result:
                sent.lane.batching.learn(outcome.wall_seconds)
            # A batch ends when its time is used up: what it has not begun by then has not failed, and goes first.
            begun = {outcome.key for outcome in result}
            sent.lane.give_back([key for key in sent.batch.keys if key not in begun])
            outcomes += result
        return outcomes

    def _ended_badly(self, sent: _Sent, error: BaseException | None) -> list[Outcome]:
        from distributed.scheduler import KilledWorker

        # A lost worker may be the fault of any block of the batch, which has to be found out. An exception is no
        # block's fault: `work` returns those as outcomes, so it could not even begin, and all blocks of the batch have
        # failed.
        if error is None:
            self._hold(sent, "the result was lost with its worker", "")
        elif isinstance(error, KilledWorker):
            worker = error.last_worker
            self._pool.lost.went(worker.address, str(worker.name))
            self._hold(sent, f"worker {worker.address} died with the block (memory?)", str(worker.name))
        else:
            text = one_line(f"{type(error).__name__}: {error}")
            if isinstance(error, Exception) and type(error).__name__ not in ("CancelledError", "FutureCancelledError"):
                sent.lane.out.pop(sent.serial, None)
                return [Outcome(key, False, text, stage=sent.lane.stage.name) for key in sent.batch.keys]
            self._hold(sent, text, "")
        return []

    def _hold(self, sent: _Sent, why: str, worker: str) -> None:
        """Keep a batch whose worker is gone until it is known why; it counts as out."""
        waited_s = time.monotonic() - sent.at_s
        if sent.batch.is_suspect and sent.deadline_s is not None and waited_s >= sent.deadline_s:
            why = f"did not end within {sent.deadline_s:.0f} s, so its worker was ended; its log shows where it was"
        self._losses.add(Loss(sent.serial, sent.lane, sent.batch, worker, why, waited_s))

    def _settled(self) -> list[Outcome]:
        """Outcomes of batches that were lost; a block counts as failed only if it was alone on its worker."""
        outcomes: list[Outcome] = []
        for verdict in self._losses.settled(self._pool.walltime_s):
            loss = verdict.loss
            loss.lane.out.pop(loss.serial, None)
            if verdict.is_innocent:
                loss.lane.acquit(loss.batch)
                continue
            if not loss.batch.is_suspect:
                log.warning("%s; its %d blocks are tried again one by one", verdict.why, len(loss.batch.keys))
            outcomes += loss.lane.suspect(loss.batch, verdict.why)
        return outcomes
