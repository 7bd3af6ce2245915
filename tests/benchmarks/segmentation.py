"""Speed and memory from stored uint8 affinities to stored segments, as a user runs it."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.machine import copy_bytes_a_second
from tests.benchmarks.report import Row
from tests.benchmarks.runs import Case, Run, best_run, tiny

NAME = "segmentation"
SMALL = ((128, 192, 256), (64, 192, 256))
LARGE = ((400, 512, 512), (100, 256, 256))
MOVED = 2 * 3 + 4 * 8 + 8
"""Bytes a voxel that must move: affinities read twice, fragments written and read twice each, segments written."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """CPU time and memory on the small and the large volume, in one process and on Dask workers."""
    rows = []
    for (shape, block), goal in ((SMALL, "<= 250"),) if quick else ((SMALL, "<= 250"), (LARGE, "<= 150")):
        for workers in (0, 2):
            base = best_run(folder, tiny(workers))
            rows += volume_rows(best_run(folder, Case(shape, block, workers)), base, goal)
    for workers in (0, 2):
        base = best_run(folder, tiny(workers))
        note = f"a run over {base.case.voxels:,} voxels; its largest worker takes {base.peak_bytes / 1e6:.0f} MB"
        rows.append(Row(f"start-up, {base.case.place}", base.cpu_seconds, "s CPU", note=note))
    shape, block = SMALL if quick else LARGE
    return rows + stage_rows(best_run(folder, Case(shape, block, 0)))


def volume_rows(run: Run, base: Run, goal: str) -> list[Row]:
    """Time and memory of one run; `base` is one of almost nothing with the same libraries."""
    wall = f"{run.wall_seconds:.1f} s, {run.case.voxels / run.wall_seconds / 1e6:.1f} million voxels/s"
    grown = max(0, run.peak_bytes - base.peak_bytes) / run.read_voxels
    peak = f"of the largest worker, its libraries not counted; at its peak {run.peak_bytes / 1e6:.0f} MB in all"
    return [
        Row(str(run.case), run.cpu_ns_a_voxel, "ns CPU/voxel", goal, 1e9 * MOVED / copy_bytes_a_second(), wall),
        Row(f"{run.case}: memory", grown, "B/read voxel", "<= 40", note=peak),
    ]


def stage_rows(run: Run) -> list[Row]:
    """CPU time inside the blocks of each stage, and of all the rest."""
    parts = {**run.stages, "start-up and driver": run.cpu_seconds - sum(run.stages.values())}
    edges = f"{run.edges / run.case.voxels:.4f} edges per voxel"
    return [
        Row(f"{run.case}: {name}", 1e9 * seconds / run.case.voxels, "ns CPU/voxel", note=edges * (name == "edges"))
        for name, seconds in parts.items()
    ]
