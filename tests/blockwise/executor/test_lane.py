"""What goes to workers next, by what waits and what is out."""

from __future__ import annotations

import pytest

from blockwise.executor.ondask.batching import LIMIT
from blockwise.executor.ondask.lane import Lane
from blockwise.executor.ondask.worker import pack_stage
from tests.support.toys import Idle

SLOTS = 2


def lane_of(seconds: float) -> Lane:
    """A lane whose blocks take so long."""
    stage = Idle(blocks=3)
    lane = Lane(stage, pack_stage(stage, "sqlite:///x.db", "t", None), 0, LIMIT)
    lane.batching.learn(seconds)
    return lane


@pytest.mark.parametrize(("seconds", "size"), [(0.01, 50), (0.1, 5)])
def test_batches_stay_large_until_few_blocks_are_left(seconds: float, size: int) -> None:
    """However few have just come in for those that ended; the last ones are shared among workers."""
    lane = lane_of(seconds)
    lane.left = 10_000
    lane.add(range(size), 1)
    assert [len(batch.keys) for batch in lane.next_batches(SLOTS, SLOTS)] == [size]
    lane.left = 2 * SLOTS
    lane.add(range(2 * SLOTS), 1)
    assert [len(batch.keys) for batch in lane.next_batches(SLOTS, SLOTS)] == [1] * 2 * SLOTS
