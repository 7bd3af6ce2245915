"""Which block runs next, without a clock or a worker."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from blockwise.engine.schedule import Schedule
from blockwise.executor.ondask.batching import LIMIT, WINDOW, Batching
from blockwise.grid import Grid, unpack

GRID = Grid("toy", (10, 7, 5), (4, 3, 5))


def none_done(grid: Grid = GRID) -> np.ndarray:
    """Nothing is left out."""
    return np.zeros(grid.counts, bool)


def drain(schedule: Schedule, fails: tuple[int, ...] = ()) -> list[int]:
    """Run to the end; the named blocks fail always."""
    order = []
    while (key := schedule.next_block()) is not None:
        order.append(key)
        schedule.release(key, key not in fails)
    return order


@pytest.mark.parametrize("volume", [(10, 7, 5), (4, 3, 5), (1, 1, 1), (3, 20, 4)])
@pytest.mark.parametrize("context", [0, 2, 9])
def test_every_block_comes_once_with_its_key(volume, context):
    """The keys handed out are those of the grid, whatever the remainder at the border and the context."""
    grid = replace(GRID, volume=volume, context_low=(context,) * 3, context_high=(context,) * 3)
    with Schedule([grid], [none_done(grid)]) as schedule:
        order = drain(schedule)
        assert schedule.is_finished
    assert sorted(order) == sorted(grid.keys().ravel().tolist())


def test_blocks_that_are_done_are_left_out():
    """Exactly the blocks that the mask does not name are handed out, for random masks."""
    random = np.random.default_rng(1)
    for _ in range(20):
        done = random.random(GRID.counts) < random.random()
        with Schedule([GRID], [done]) as schedule:
            assert sorted(drain(schedule)) == sorted(GRID.keys()[~done].tolist())
            assert schedule.is_finished
            assert schedule.stages[0].skipped == done.sum()


@pytest.mark.parametrize("volume", [(64, 24, 80), (10, 7, 5), (1, 1, 90)])
def test_near_blocks_come_one_after_the_other(volume):
    """All that are not done come once, and those that follow each other fill cubes of 2 and 4 along each axis."""
    grid = replace(GRID, volume=volume)
    done = np.random.default_rng(2).random(grid.counts) < 0.2
    with Schedule([grid], [done], by_nearness=True) as schedule:
        assert sorted(drain(schedule)) == sorted(grid.keys()[~done].tolist())
        assert schedule.is_finished
    with Schedule([grid], [none_done(grid)], by_nearness=True) as schedule:
        order = np.array([unpack(key) for key in drain(schedule)])
    for side in (2, 4) if volume == (64, 24, 80) else ():
        cubes = (order // side).reshape(-1, side**3, 3)
        assert (cubes == cubes[:, :1]).all()


def test_all_blocks_may_be_out_at_once():
    """Blocks of one stage never wait for each other, even with context."""
    grid = replace(GRID, context_low=(1, 1, 1), context_high=(1, 1, 1))
    with Schedule([grid], [none_done()]) as schedule:
        keys = [schedule.next_block() for _ in range(GRID.count)]
        assert None not in keys
        assert schedule.next_block() is None
        assert not schedule.is_finished
        assert schedule.out == GRID.count


def test_a_failed_block_comes_again_up_to_the_limit():
    """It is handed out max_attempts times, is given up then, and the others are done."""
    bad = int(GRID.keys()[1, 1, 0])
    with Schedule([GRID], [none_done()], max_attempts=3) as schedule:
        order = drain(schedule, fails=(bad,))
        assert order.count(bad) == 3
        assert schedule.stages[0].given_up == [bad]
        assert schedule.stages[0].done == GRID.count - 1
        assert schedule.is_finished


def test_a_failed_block_comes_after_the_others():
    """A retry does not hold up blocks that have not been tried."""
    with Schedule([GRID], [none_done()], max_attempts=2) as schedule:
        first = schedule.next_block()
        assert first is not None
        assert schedule.release(first, False)
        order = drain(schedule)
    assert order[-1] == first
    assert order.index(first) == len(order) - 1


def test_releasing_twice_is_an_error():
    """The second release would corrupt the counts, so it is refused."""
    with Schedule([GRID], [none_done()]) as schedule:
        key = schedule.next_block()
        assert key is not None
        schedule.release(key, True)
        with pytest.raises(KeyError):
            schedule.release(key, True)
        drain(schedule)
        assert schedule.is_finished


def test_another_thread_is_refused():
    """An error, not the panic of the scheduler inside."""
    caught: list[BaseException] = []

    def use(schedule: Schedule) -> None:
        try:
            schedule.next_block()
        except RuntimeError as error:
            caught.append(error)

    with Schedule([GRID], [none_done()]) as schedule:
        thread = threading.Thread(target=use, args=(schedule,))
        thread.start()
        thread.join()
        drain(schedule)
    assert len(caught) == 1


def test_a_mask_of_another_grid_is_refused():
    """A shifted mask would leave silent holes."""
    with pytest.raises(ValueError, match="mask"):
        Schedule([GRID], [np.zeros((1, 1, 1), bool)])


def test_cheap_blocks_go_in_batches_and_slow_ones_alone():
    """A batch takes about half a second; nothing is batched before a block was measured."""
    batching = Batching()
    assert batching.size() == 1
    batching.learn(0.1)
    assert batching.size() == 5
    batching.learn(2.0)
    assert batching.size() == 1
    quick = Batching()
    quick.learn(0.0)
    assert quick.size() == LIMIT


def test_one_slow_block_ends_batching_and_many_fast_ones_bring_it_back():
    """It rises at once, and falls slowly."""
    batching = Batching()
    batching.learn(0.001)
    batching.learn(10.0)
    assert (batching.size(), batching.window(4)) == (1, 4)
    for _ in range(100):
        batching.learn(0.001)
    assert batching.size() > 50
    assert batching.window(4) >= 8


def test_a_deadline_grows_with_blocks_that_take_long():
    """So that slow blocks are no suspects; without a deadline there is none."""
    batching = Batching()
    assert batching.deadline_s(None) is None
    assert batching.deadline_s(60) == 60
    batching.learn(10.0)
    batching.learn(0.1)
    assert batching.deadline_s(60) == 200


def test_short_tasks_are_queued_deep_and_their_number_is_bounded():
    """Workers never wait for the driver, and the driver never holds more than a few thousand."""
    batching = Batching(limit=1)
    batching.learn(1e-5)
    assert batching.size() == 1
    assert batching.window(1) > 100
    assert batching.window(300) == WINDOW
    assert batching.window(5000) == 5000
