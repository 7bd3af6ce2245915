"""Batches that were lost with their worker, until it is known what became of that worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blockwise.executor.ondask.lane import BlockBatch, Lane

if TYPE_CHECKING:
    from blockwise.cluster.batch.keeping import Fate

_NEARLY = 0.8


@dataclass(frozen=True)
class Loss:
    """One batch, and what is known of its end."""

    serial: int
    lane: Lane
    batch: BlockBatch
    worker: str
    """Its name."""
    why: str
    waited_s: float
    """Since it was sent."""


@dataclass(frozen=True)
class LossCause:
    """What is to become of the blocks of a batch that was lost."""

    loss: Loss
    why: str
    is_innocent: bool
    """They have nothing to do with it, and are tried again without counting."""


class Losses:
    """A job that was cancelled, or reached its longest time, is no fault of the block that was in it: such a block is
    tried again without counting. The batch system says so some seconds later; until then the blocks are held back."""

    def __init__(self, fate: Callable[[str], Fate | None]) -> None:
        """fate: what became of a worker, by its name; None as long as that may still be found out."""
        self._fate = fate
        self._held: list[Loss] = []

    def add(self, loss: Loss) -> None:
        """Hold a batch."""
        self._held.append(loss)

    def settled(self, walltime_s: float | None) -> list[LossCause]:
        """Batches of which more is known now, or nothing ever will be. walltime_s: longest time of a job."""
        found, held = [], []
        for loss in self._held:
            fate = self._fate(loss.worker)
            if fate is None:
                held.append(loss)
                continue
            why = f"{loss.why} ({fate.words})" if fate.words else loss.why
            # A block that had nearly all the time that a job may take would be cut off again and again.
            too_long = fate.is_cut_off and walltime_s is not None and loss.waited_s >= _NEARLY * walltime_s
            found.append(LossCause(loss, why, fate.is_innocent and not too_long))
        self._held = held
        return found

    def forget(self) -> None:
        """Hold nothing any more."""
        self._held = []
