"""Whether a voxel costs the same in a volume eight times as large, in time and in a worker's memory.

The volume grows along z, as in microscopy. Blocks at its border read less context than inner ones, so growing along
all axes would compare volumes with different shares of inner blocks.
"""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.report import Row
from tests.benchmarks.runs import Case, Run, best_run, tiny

NAME = "growth"
BLOCK = (50, 96, 96)
SMALL, LARGE = (400, 192, 192), (3200, 192, 192)
QUICK_BLOCK = (32, 64, 64)
QUICK_SMALL, QUICK_LARGE = (64, 128, 128), (512, 128, 128)
MEMORY, QUICK_MEMORY = "8MB", "500KB"
"""Less than the region graph of the small volume takes, so that both are solved in boxes, as all large ones are."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Ratios of CPU time a voxel and of peak memory, the large volume over the small one."""
    rows = []
    block, small, large = (QUICK_BLOCK, QUICK_SMALL, QUICK_LARGE) if quick else (BLOCK, SMALL, LARGE)
    memory = QUICK_MEMORY if quick else MEMORY
    for workers in (0, 2):
        one, eight = (in_boxes(best_run(folder, Case(shape, block, workers, memory))) for shape in (small, large))
        rows += time_rows(one, eight, best_run(folder, tiny(workers))) + memory_rows(one, eight)
    return rows


def in_boxes(run: Run) -> Run:
    """The run itself; RuntimeError if its graph was solved as a whole, which would be compared with another way."""
    if not run.boxes:
        raise RuntimeError(f"{run.case}: the region graph fits {run.case.memory}; a smaller limit is needed")
    return run


def time_rows(one: Run, eight: Run, base: Run) -> list[Row]:
    """CPU time with start-up and without it, and inside the blocks without what the first ones load."""
    alone, inside = (
        [total(run) - total(base) for run in (one, eight)]
        for total in (lambda run: run.cpu_seconds, lambda run: sum(run.stages.values()))
    )
    return [
        time_row("all CPU time", [one.cpu_seconds, eight.cpu_seconds], one, eight),
        time_row("without start-up", alone, one, eight),
        time_row("without start-up, inside the blocks", inside, one, eight),
    ]


def time_row(what: str, seconds: list[float], one: Run, eight: Run) -> Row:
    """CPU time a voxel of the large volume over that of the small one."""
    small, large = (1e9 * time / run.case.voxels for time, run in zip(seconds, (one, eight), strict=True))
    note = f"{small:.0f} to {large:.0f} ns per voxel, in {one.boxes} and {eight.boxes} boxes"
    return Row(f"{title(one, eight)}: {what}", large / small, "times", "<= 1.05", note=note)


def memory_rows(one: Run, eight: Run) -> list[Row]:
    """Peak memory of the largest worker in each stage that both have: a larger graph has more levels of boxes."""
    return [
        Row(
            f"{title(one, eight)}: memory of a worker in {name}",
            eight.peaks[name] / one.peaks[name],
            "times",
            "<= 1.05",
            note=f"{one.peaks[name] / 1e6:.0f} to {eight.peaks[name] / 1e6:.0f} MB, libraries included",
        )
        for name in one.peaks
        if name in eight.peaks
    ]


def title(one: Run, eight: Run) -> str:
    """Both sizes and where the blocks ran."""
    return f"{one.case.voxels / 1e6:.1f} to {eight.case.voxels / 1e6:.1f} M voxels, {one.case.place}"
