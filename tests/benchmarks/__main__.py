"""`make bench`: figures of speed and memory, printed as a table and written to out/bench.json.

`python -m tests.benchmarks --quick` leaves the large volume out.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from tests.benchmarks.agglomeration import measure_apart
from tests.benchmarks.machine import copy_bytes_a_second, processor
from tests.benchmarks.segmentation import Figures, measure

SMALL, LARGE = (128, 192, 256), (400, 512, 512)
HEAD = (
    "voxels", "Dask workers", "CPU ns/voxel", "limit ns/voxel", "wall s", "voxels/s", "peak MB", "B/read voxel",
    "edges/voxel",
)  # fmt: skip
BLOCKS = {SMALL: (64, 96, 128), LARGE: (100, 256, 256)}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the large volume out")
    parser.add_argument("--folder", type=Path, default=Path("out/bench"), help="where volumes are made and kept")
    arguments = parser.parse_args()
    sizes = (SMALL,) if arguments.quick else (SMALL, LARGE)
    bandwidth = copy_bytes_a_second()
    found = [measure(arguments.folder, shape, BLOCKS[shape], workers) for shape in sizes for workers in (0, 2)]
    show(found, bandwidth)
    edges = 1_000_000 if arguments.quick else 10_000_000
    merging = measure_apart(edges)
    sys.stdout.write(f"dendrogram of {edges:,} edges, one core: {json.dumps(merging)}\n")
    machine = {"processor": processor(), "python": platform.python_version(), "copy_bytes_a_second": bandwidth}
    data = {"machine": machine, "segmentation": [figures.__dict__ for figures in found], "merging": merging}
    (arguments.folder.parent / "bench.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return 0


def show(found: list[Figures], bandwidth: float) -> None:
    """The table: CPU time of all processes from stored affinities to stored segments, start-up included."""
    write = sys.stdout.write
    write(f"{processor()}, copies {bandwidth / 1e9:.1f} GB/s on one core\n")
    write("from stored affinities to stored segments, all processes, start-up and I/O included\n")
    write("".join(f"{name:>16}" for name in HEAD) + "\n")
    for row in found:
        # Affinities read twice, fragments written twice and read twice, segments written: the least that moves.
        limit = 1e9 * (2 * 3 + 4 * 8 + 8) / bandwidth
        values = (
            f"{row.voxels:,}", str(row.workers), f"{row.cpu_ns_a_voxel:.0f}", f"{limit:.0f}", f"{row.wall_seconds:.1f}",
            f"{row.voxels / row.wall_seconds:,.0f}", f"{row.peak_rss_bytes / 1e6:.0f}",
            f"{row.bytes_a_read_voxel:.0f}", f"{row.edges_a_voxel:.4f}",
        )
        write("".join(f"{value:>16}" for value in values) + "\n")
        for stage, nanoseconds in row.stages.items():
            write(f"{stage:>32}: {nanoseconds:.0f} ns/voxel\n")


if __name__ == "__main__":
    sys.exit(main())
