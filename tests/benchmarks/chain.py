"""What the scheduler needs to release the blocks of two stages that run in one chain."""

from __future__ import annotations

import time

import numpy as np

from blockwise.engine.schedule import Schedule
from blockwise.grid import Grid, Voxels
from tests.benchmarks.report import Row

BLOCK = (64, 128, 128)


def measure_chain(quick: bool) -> list[Row]:
    """Blocks a second handed out and released, for the contexts that there are."""
    side = 10 if quick else 20
    cases: dict[str, Voxels] = {"no context": (0, 0, 0), "context below a block": (4, 4, 4)}
    rows = []
    for name, context in cases.items():
        rate, early = release_all(side, context)
        note = f"the first block of the second stage after {early:,} of the first"
        rows.append(Row(f"daisy, 2 chained stages of {side**3:,} blocks, {name}", rate, "blocks/s", "", None, note))
    rows.append(Row(f"daisy, 1 stage of {side**3:,} blocks", release_one(side), "blocks/s"))
    return rows


def release_all(side: int, context: Voxels) -> tuple[float, int]:
    """Blocks a second of both stages, and blocks of the first one done before the second began."""
    volume = tuple(side * step for step in BLOCK)
    grids = [Grid("first", volume, BLOCK), Grid("second", volume, BLOCK, context, context)]
    begin, done, early = time.perf_counter(), [0, 0], 0
    with Schedule(grids, [np.zeros(grid.counts, bool) for grid in grids]) as schedule:
        while not schedule.is_finished:
            for place in (1, 0):
                if (key := schedule.next_block(place)) is not None:
                    early = early or done[0] * place
                    schedule.release(key, True, place)
                    done[place] += 1
                    break
    return sum(done) / (time.perf_counter() - begin), early


def release_one(side: int) -> float:
    """Blocks a second of one stage alone."""
    grid = Grid("only", tuple(side * step for step in BLOCK), BLOCK)
    begin = time.perf_counter()
    with Schedule([grid], [np.zeros(grid.counts, bool)]) as schedule:
        while (key := schedule.next_block()) is not None:
            schedule.release(key, True)
    return grid.count / (time.perf_counter() - begin)
