"""Whom the loss of a worker is blamed on, decided from what became of it."""

from __future__ import annotations

import pytest

from blockwise.cluster.batch.keeping import Fate
from blockwise.executor.ondask.lane import BlockBatch, Lane
from blockwise.executor.ondask.losses import Loss, Losses
from blockwise.executor.ondask.worker import pack_stage
from tests.support.toys import Idle

WALLTIME_S = 100.0


def loss(waited_s: float) -> Loss:
    """One block, alone on worker w1."""
    stage = Idle(blocks=3)
    lane = Lane(stage, pack_stage(stage, "sqlite:///x.db", "t", None), 0, 128)
    return Loss(0, lane, BlockBatch((1,), True), "w1", "worker died", waited_s)


@pytest.mark.parametrize(
    ("fate", "waited_s", "is_innocent"),
    [
        (Fate("CANCELLED", True), 90.0, True),
        (Fate("TIMEOUT", True, True), 10.0, True),
        (Fate("TIMEOUT", True, True), 90.0, False),
        (Fate("OUT_OF_MEMORY", False), 10.0, False),
        (Fate("", False), 10.0, False),
    ],
)
def test_a_block_is_to_blame_only_for_what_it_may_have_done(fate, waited_s, is_innocent):
    """Not for a job that was cancelled or cut off, unless it had nearly all the time that a job may take."""
    losses = Losses(lambda name: fate if name == "w1" else None)
    losses.add(loss(waited_s))
    (verdict,) = losses.settled(WALLTIME_S)
    assert verdict.is_innocent is is_innocent
    assert verdict.why == (f"worker died ({fate.words})" if fate.words else "worker died")
    assert not losses.settled(WALLTIME_S)


def test_nobody_is_blamed_before_it_is_known():
    """The batch system says so some seconds later."""
    told: list[Fate] = []
    losses = Losses(lambda name: told[0] if told else None)
    losses.add(loss(10.0))
    assert not losses.settled(None)
    told.append(Fate("CANCELLED", True))
    (verdict,) = losses.settled(None)
    assert verdict.is_innocent


def test_an_innocent_block_is_tried_again_as_before():
    """Alone if it was alone, and no attempt is counted."""
    held = loss(1.0)
    held.lane.acquit(held.batch)
    assert held.lane.next_batches(4, 4) == [BlockBatch((1,), True)]
    held.lane.acquit(BlockBatch((1, 2)))
    assert sum(len(batch.keys) for batch in held.lane.next_batches(4, 4)) == 2
