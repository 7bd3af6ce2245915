"""Stages in three steps: the next block is read and the last one written while one is computed."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from blockwise.engine.run import run_stages
from blockwise.errors import WorkFailed
from blockwise.executor import InProcess, Outcome
from blockwise.executor.ondask.batching import Batching
from blockwise.executor.overlap import run_blocks
from blockwise.grid import Block, Grid
from blockwise.stage import Overlapping
from blockwise.store import Store

BLOCKS = 6
PATIENCE_S = 20


class Steps(Overlapping):
    """Tells `seen` of every step that begins, and of every block that has been saved."""

    name: ClassVar[str] = "steps"
    seen: ClassVar[Callable[[str, int], None]]

    def grid(self) -> Grid:
        return Grid(self.name, (BLOCKS, 1, 1), (1, 1, 1))

    def load(self, block: Block) -> int:
        place = int(block.write_roi.begin[0])
        type(self).seen("load", place)
        return place

    def compute(self, block: Block, loaded: int) -> int:
        type(self).seen("compute", loaded)
        return loaded

    def save(self, block: Block, computed: int) -> None:
        type(self).seen("save", computed)
        type(self).seen("saved", computed)


@pytest.fixture
def happened() -> Iterator[defaultdict[tuple[str, int], threading.Event]]:
    """Events of the steps of blocks, set when they begin."""
    found: defaultdict[tuple[str, int], threading.Event] = defaultdict(threading.Event)
    Steps.seen = lambda step, place: found[step, place].set()  # type: ignore[method-assign, assignment, misc]
    yield found
    del Steps.seen


def outcomes(store: Store) -> Iterator[Outcome]:
    """Of all blocks."""
    stage = Steps()
    return run_blocks(stage, stage.grid(), stage.grid().keys().ravel().tolist(), store)


def test_a_block_is_read_and_another_written_while_one_is_computed(happened, store):
    """Each waits here for the others to begin, so that one after the other would never end."""
    overlapped, plain = [], Steps.seen

    def meet(step: str, place: int) -> None:
        plain(step, place)
        if step == "compute" and 0 < place < BLOCKS - 1:
            events = happened["load", place + 1], happened["save", place - 1]
            overlapped.append(all(event.wait(PATIENCE_S) for event in events))
        if step == "save" and place < BLOCKS - 1:
            overlapped.append(happened["compute", place + 1].wait(PATIENCE_S))

    Steps.seen = meet
    assert [one.ok for one in outcomes(store)] == [True] * BLOCKS
    assert overlapped == [True] * (BLOCKS - 2 + BLOCKS - 1)


def test_a_block_comes_back_once_it_is_saved_and_four_are_held_at_most(happened, store):
    """In order; when the compute of a block begins, the one three before it has been saved."""
    plain = Steps.seen

    def watch(step: str, place: int) -> None:
        plain(step, place)
        if step == "compute":
            assert place < 3 or happened["saved", place - 3].is_set()
            assert not happened["load", place + 2].is_set()

    Steps.seen = watch
    for place, one in enumerate(outcomes(store)):
        assert (one.ok, one.error, one.stage) == (True, "", "steps")
        assert Steps().grid().block_at(one.key).write_roi.begin[0] == place
        assert happened["saved", place].is_set()


def test_two_blocks_are_written_at_once(happened, store):
    """Each write waits here until the next one has begun as well."""
    together, plain = [], Steps.seen

    def meet(step: str, place: int) -> None:
        plain(step, place)
        if step == "save" and place < BLOCKS - 1:
            together.append(happened["save", place + 1].wait(PATIENCE_S))

    Steps.seen = meet
    assert [one.ok for one in outcomes(store)] == [True] * BLOCKS
    assert together == [True] * (BLOCKS - 1)


@pytest.mark.parametrize("bad", ["load", "compute", "save"])
def test_an_error_fails_its_block_only(bad, happened, store):
    """In whatever step: the block is tried again, given up and named, and all others are marked."""
    plain, tries = Steps.seen, []

    def fail(step: str, place: int) -> None:
        plain(step, place)
        if (step, place) == (bad, 2):
            tries.append(place)
            raise OSError("the disk is full")

    Steps.seen = fail
    with InProcess(store) as executor, pytest.raises(WorkFailed, match=r"1 blocks failed.*\(2, 0, 0\).*disk is full"):
        run_stages([Steps()], store, executor)
    assert store.totals("steps").done == BLOCKS - 1
    assert len(tries) == 3
    assert happened["compute", 2].is_set() == (bad != "load")
    assert not happened["saved", 2].is_set()


def test_batches_of_such_blocks_are_long(happened):
    """At least some blocks a batch, so that the first read and the last write matter little, but none of an hour."""
    sizes = {}
    for seconds in (0.001, 1.0, 20.0, 1000.0):
        batching = Batching(together=8)
        assert batching.size() == 1
        batching.learn(seconds)
        sizes[seconds] = batching.size()
    assert sizes == {0.001: 128, 1.0: 8, 20.0: 3, 1000.0: 1}
