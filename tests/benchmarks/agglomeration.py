"""Edges a second and bytes an edge of the agglomeration: `python -m tests.benchmarks.agglomeration [edges]`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np

from blockwise.kernels.graph.agglomeration import agglomerate
from blockwise.kernels.graph.edges import EDGE
from blockwise.kernels.graph.rules import MergeRules
from tests.support.affinities import ALL_MERGES

STEPS = (1, 2, 7, 100, 101, 10_000, 10_101)
"""How far apart neighbours are on a grid of 100 x 100 fragments a section: seven edges to each fragment."""


def grid_graph(edges: int, seed: int = 0) -> np.ndarray:
    """So many EDGEs between fragments near each other, sorted; means from 0 to full, of 1 to 199 affinities."""
    rng = np.random.default_rng(seed)
    graph = np.zeros(edges, EDGE)
    row = np.arange(edges, dtype=np.uint64)
    graph["u"] = row // np.uint64(len(STEPS)) * np.uint64(997) + np.uint64(1)
    graph["v"] = graph["u"] + np.array(STEPS, np.uint64)[row % np.uint64(len(STEPS))] * np.uint64(997)
    graph["count"] = rng.integers(1, 200, edges, np.uint32)
    graph["sum"] = (rng.random(edges, np.float32) * np.float32(255) * graph["count"]).astype(np.uint64)
    return graph


def measure(edges: int, stop: float = 0.0) -> dict[str, float]:
    """CPU seconds, edges a second on one core, and what memory grows by an edge beside the edges given."""
    agglomerate(grid_graph(1000), 255, ALL_MERGES)  # compiles, or loads what is compiled
    graph = grid_graph(edges)
    before, begin = resident_bytes(), time.thread_time()
    tree = agglomerate(graph, 255, MergeRules(stop=stop))
    seconds = time.thread_time() - begin
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "edges": float(edges),
        "fragments": float(len(tree.fragment)),
        "cpu_seconds": seconds,
        "edges_a_second": edges / seconds,
        "bytes_an_edge": (peak - before) / edges,
    }


def measure_apart(edges: int, stop: float = 0.0) -> dict[str, float]:
    """`measure` in a process of its own, so that the peak is that of one run."""
    command = [sys.executable, "-m", "tests.benchmarks.agglomeration", "--here", str(edges), str(stop)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def main(arguments: list[str]) -> None:
    """Print the figures of merging everything, and of merging down to a usual stop."""
    if arguments[:1] == ["--here"]:
        print(json.dumps(measure(int(arguments[1]), float(arguments[2]))))
        return
    edges = int(arguments[0]) if arguments else 10_000_000
    for stop in (0.0, 0.5):
        found = measure_apart(edges, stop)
        print(
            f"{edges:,} edges down to {stop}: {found['edges_a_second']:,.0f} edges/s on one core, "
            f"{found['bytes_an_edge']:.0f} B an edge beside the {EDGE.itemsize} B given"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
