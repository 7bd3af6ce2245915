"""A new threshold in the viewer: the segments of what is on the screen, out of many fragments."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from blockwise.kernels.graph.agglomeration import cut
from tests.benchmarks.agglomeration import resident_bytes
from tests.benchmarks.report import Row
from tests.support.dendrograms import ancestry, random_dendrogram

NAME = "view"
ON_SCREEN = 100_000
"""Fragments looked at: more than a picture of 1000 x 1000 voxels beside a large cube has."""
THRESHOLDS = (0.9, 0.5, 0.1, 0.02)
FAR = 50_000_000
"""How many rows a parent may be away; so nearly every step leaves the cache."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Seconds of CPU until the fragments on the screen have their segments at a new threshold, and bytes a fragment."""
    count = 1_000_000 if quick else 20_000_000
    found = measure_apart(count)
    what = f"dendrogram of {count / 1e6:.0f} M fragments"
    note = f"{ON_SCREEN:,} fragments at each of {len(THRESHOLDS)} thresholds, the slowest; a cut through all takes "
    note += f"{found['cut_seconds']:.2g} s; checked to give the same"
    return [
        Row(f"{what}: a new threshold", found["seconds"], "s CPU", "<= 0.5", note=note),
        Row(f"{what}: memory", found["bytes"], "B/fragment", "<= 30", note="28 while it is made"),
        Row(f"{what}: made ready once", found["ready_seconds"], "s CPU", note="without reading the files"),
    ]


def measure_here(count: int) -> dict[str, float]:
    """The figures, of a process that does nothing else."""
    ancestry(random_dendrogram(1000, 0, 10)).segments_of(np.zeros(1, np.uint64), 0.5)  # compiles
    tree = random_dendrogram(count, 0, min(count, FAR))
    before, begin = resident_bytes(), time.thread_time()
    made = ancestry(tree)
    ready = time.thread_time() - begin
    kept = resident_bytes() - before
    chosen = np.random.default_rng(1).choice(tree.fragment, ON_SCREEN)
    times, numbers = [], []
    for threshold in THRESHOLDS:
        begin = time.thread_time()
        numbers.append(made.segments_of(chosen, threshold))
        times.append(time.thread_time() - begin)
    rows = np.searchsorted(tree.fragment, chosen)
    begin = time.thread_time()
    whole = cut(tree, THRESHOLDS[0])
    cut_seconds = time.thread_time() - begin
    assert (numbers[0] == whole[rows]).all()
    return {
        "ready_seconds": ready,
        "seconds": max(times),
        "cut_seconds": cut_seconds,
        "bytes": kept / count,
    }


def measure_apart(count: int) -> dict[str, float]:
    """`measure_here` in a process of its own, so that memory is that of one dendrogram."""
    command = [sys.executable, "-m", "tests.benchmarks.viewing", str(count)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


if __name__ == "__main__":
    print(json.dumps(measure_here(int(sys.argv[1]))))
