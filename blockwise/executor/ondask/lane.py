"""The blocks of one stage on their way to Dask workers: what waits, what goes next. Decisions only, no Dask."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blockwise.executor.base import Outcome
from blockwise.executor.ondask.batching import Batching
from blockwise.stage import Stage

if TYPE_CHECKING:
    from blockwise.executor.ondask.worker import PackedStage


@dataclass(frozen=True)
class BlockBatch:
    """Blocks that go to a worker together."""

    keys: tuple[int, ...]
    is_suspect: bool = False
    """Its one block was on a worker that died, and is tried alone."""


class Lane:
    """Fresh blocks go in batches, those that failed one by one, those that were on a lost worker few at a time."""

    def __init__(self, stage: Stage, packed: PackedStage, place: int, limit: int) -> None:
        """place: of the stage in its chain. limit: blocks in a batch at most."""
        self.stage = stage
        self.packed = packed
        self.place = place
        self.needs = stage.resources()
        self.batching = Batching(limit, stage.blocks_together())
        self.under_way = True
        """Whether there were blocks of it when blocks were last waited for; at first nobody knows."""
        self.left = 0
        """Blocks of the stage that are not done, if it has been told; those that are out are among them."""
        self.out: dict[int, BlockBatch] = {}
        """Batches at workers, by their serial number."""
        self.begun_s: float | None = None
        """When the first was noticed to be out."""
        self._fresh: deque[int] = deque()
        self._single: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self._lost: set[int] = set()

    @property
    def is_busy(self) -> bool:
        """Whether any block waits or is out."""
        return bool(self.out or self._fresh or self._single or self._suspects)

    def block_s(self, now_s: float) -> float:
        """About how long a block takes; as long as none has ended, how long the first has taken so far."""
        if self.batching.seconds is not None:
            return self.batching.seconds
        if self.out and self.begun_s is None:
            self.begun_s = now_s
        return 0.0 if self.begun_s is None else now_s - self.begun_s

    def add(self, keys: Sequence[int], attempt: int) -> None:
        """Queue blocks."""
        if attempt == 1:
            self._fresh.extend(keys)
            return
        for key in keys:
            (self._suspects if key in self._lost else self._single).append(key)

    def give_back(self, keys: Sequence[int]) -> None:
        """Queue blocks of a batch that were not begun, before all others."""
        self._fresh.extendleft(reversed(keys))

    def suspect(self, batch: BlockBatch, why: str) -> list[Outcome]:
        """The worker was lost: a failed attempt if the block was alone already, else its blocks are tried alone."""
        self._lost.update(batch.keys)
        if batch.is_suspect:
            return [Outcome(key, False, why, stage=self.stage.name) for key in batch.keys]
        self._suspects.extend(batch.keys)
        return []

    def acquit(self, batch: BlockBatch) -> None:
        """The worker was lost through no fault of these blocks: they go first, as if nothing had been."""
        if batch.is_suspect:
            self._suspects.extend(batch.keys)
        else:
            self.give_back(batch.keys)

    def next_batches(self, slots: int, alive: int) -> list[BlockBatch]:
        """What goes to the workers now; few at a time if blocks are cheap, so that many go in one message."""
        chosen: list[BlockBatch] = []
        suspects = sum(batch.is_suspect for batch in self.out.values())
        while self._suspects and suspects < max(1, alive // 8):
            chosen.append(BlockBatch((self._suspects.popleft(),), True))
            suspects += 1
        window = self.batching.window(slots)
        free = window - len(self.out) - len(chosen)
        if free < window // 8:
            return chosen
        while self._single and free > 0:
            chosen.append(BlockBatch((self._single.popleft(),)))
            free -= 1
        # The last ones are shared evenly. What is queued is no measure of that: it is as much as has just ended.
        waiting = max(len(self._fresh), self.left - sum(len(batch.keys) for batch in self.out.values()))
        share = -(-waiting // (2 * slots))
        most = max(1, min(self.batching.size(), share))
        while self._fresh and free > 0:
            size = min(most, len(self._fresh))
            chosen.append(BlockBatch(tuple(self._fresh.popleft() for _ in range(size))))
            free -= 1
        return chosen
