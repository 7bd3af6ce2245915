"""A new threshold in the viewer: the segments of what is on the screen, out of many fragments."""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from blockwise.kernels.graph.climbing import Ancestry
from contraband.volumes.view.numbers import LiveNumbers
from tests.benchmarks.agglomeration import resident_bytes
from tests.benchmarks.report import Row
from tests.support.dendrograms import HashedDendrogram

NAME = "view"
SCREEN_VX = 1536
"""Along y and x of the plane that is looked at, and more than most screens show."""
PIECE_VX = 512
"""Along y and x of a piece, as neuroglancer asks for them."""
FRAGMENT_VX = 5
"""Along each axis of a fragment: so small that about 100,000 are on the screen."""
DEPTH_VX = 64
THRESHOLDS = (0.9, 0.5, 0.1, 0.02)
SHAPES = {
    # Nearly every step leaves the cache.
    "parents far away": (50_000_000, 0.02),
    # About 100,000 merges from most fragments to the root, where there are 100 million of them.
    "long ways up": (2000, 1e-9),
}
"""How many rows a parent may be away, and which share of the fragments has none."""
CHECKED = 300
"""Fragments that are also renamed by going up one merge at a time."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Seconds of CPU until the fragments on the screen have their segments at a new threshold, and bytes a fragment."""
    count = 1_000_000 if quick else 100_000_000
    rows = []
    for shape in SHAPES:
        found = measure_apart(count, shape)
        what = f"dendrogram of {count / 1e6:.0f} M fragments, {shape}"
        note = f"{SCREEN_VX} x {SCREEN_VX} voxels, {found['fragments']:,.0f} fragments; the slowest of "
        note += f"{len(THRESHOLDS)} thresholds; checked"
        rows += [
            Row(f"{what}: a new threshold", found["seconds"], "s CPU", "<= 0.5", note=note),
            Row(f"{what}: packed for the browser", found["packed_seconds"], "s CPU", note="the same, as it is sent"),
            Row(f"{what}: memory", found["bytes"], "B/fragment", "<= 30", note=f"{found['peak']:.3g} at its peak"),
            Row(f"{what}: made ready once", found["ready_seconds"], "s CPU", note="made up on the way, not read"),
        ]
    return rows


class MadeUpFragments:
    """A plane of fragments, each a cube, any of a dendrogram."""

    shape = (DEPTH_VX, SCREEN_VX, SCREEN_VX)

    def __init__(self, tree: HashedDendrogram) -> None:
        counts = [-(-size // FRAGMENT_VX) for size in self.shape]
        self.rows = np.random.default_rng(1).integers(0, tree.count, counts)
        self._numbers = tree.fragment(self.rows)

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray:
        return self._numbers[np.ix_(*(np.arange(part.start, part.stop) // FRAGMENT_VX for part in region))]


def measure_here(count: int, shape: str) -> dict[str, float]:
    """The figures, of a process that does nothing else."""
    reach, roots = SHAPES[shape]
    small = HashedDendrogram(1000, 10, 0.02)
    show(small, small.ancestry(), (0.5,))  # compiles
    before, begin = resident_bytes(), time.thread_time()
    tree = HashedDendrogram(count, min(count, reach), roots)
    ways = tree.ancestry()
    ready = time.thread_time() - begin
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"ready_seconds": ready, "bytes": (resident_bytes() - before) / count, "peak": (peak - before) / count}
    return {**found, **show(tree, ways, THRESHOLDS)}


def show(tree: HashedDendrogram, ways: Ancestry, thresholds: tuple[float, ...]) -> dict[str, float]:
    """Move the threshold, and time the pieces of the plane that are asked for then: the slowest."""
    from neuroglancer.chunks import encode_npz

    fragments = MadeUpFragments(tree)
    live = LiveNumbers(fragments, ways, 1.0, 0.0)  # type: ignore[arg-type]
    places = [np.array([DEPTH_VX // 2, *at]) for at in itertools.product(range(0, SCREEN_VX, PIECE_VX), repeat=2)]
    size = np.array([1, PIECE_VX, PIECE_VX])
    for place in places:  # what is looked at is in memory
        live.piece(place, place + size, (1, 1, 1))
    times = {"seconds": 0.0, "packed_seconds": 0.0}
    for threshold in thresholds:
        begin = time.thread_time()
        live.set_threshold(threshold)
        pieces = [live.piece(place, place + size, (1, 1, 1)) for place in places]
        times["seconds"] = max(times["seconds"], time.thread_time() - begin)
        for piece in pieces:
            encode_npz(piece)
        times["packed_seconds"] = max(times["packed_seconds"], time.thread_time() - begin)
        check(tree, fragments, pieces[0], threshold)
    return {**times, "fragments": float(fragments.rows[0].size)}


def check(tree: HashedDendrogram, fragments: MadeUpFragments, piece: np.ndarray, threshold: float) -> None:
    """Compare the first piece with what one gets by going up one merge at a time."""
    across = PIECE_VX // FRAGMENT_VX
    rows = fragments.rows[DEPTH_VX // 2 // FRAGMENT_VX, :across, :across].ravel()
    served = piece[0, ::FRAGMENT_VX, ::FRAGMENT_VX][:across, :across].ravel()
    some = np.random.default_rng(2).choice(len(rows), CHECKED, replace=False)
    assert (served[some] == tree.segments_of(rows[some], threshold)).all()


def measure_apart(count: int, shape: str) -> dict[str, float]:
    """`measure_here` in a process of its own, so that memory is that of one dendrogram."""
    command = [sys.executable, "-m", "tests.benchmarks.viewing", str(count), shape]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


if __name__ == "__main__":
    print(json.dumps(measure_here(int(sys.argv[1]), sys.argv[2])))
