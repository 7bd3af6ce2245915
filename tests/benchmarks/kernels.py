"""Time the kernels on one core: `python -m tests.benchmarks.kernels [side of the volume in voxels]`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.graph.edges import EDGE, count_edges, merge_edges
from blockwise.kernels.graph.rules import MergeRules
from blockwise.kernels.tables import count_overlap, relabel
from blockwise.kernels.watershed.label import label_block, window
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import ALL_MERGES

NEAREST = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def electron_microscopy(side: int, seed: int = 0) -> np.ndarray:
    """Affinities (3, side, side, side) uint8 like a network's: cells of some 30 voxels, thick membranes, noise."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.standard_normal((side,) * 3, np.float32), 8, mode="wrap")
    depth = np.abs(field) / field.std()
    inside = 1 / (1 + np.exp(-(depth - 0.25) * 14))
    noise = gaussian_filter(rng.standard_normal((side,) * 3, np.float32), 1, mode="wrap")
    inside = np.clip(inside + 0.08 * noise / noise.std(), 0, 1)
    joined = [np.minimum(inside, np.roll(inside, 1, axis)) for axis in range(3)]
    return np.round(255 * np.stack(joined)).astype(np.uint8)


def random_graph(nodes: int, rows: int, seed: int = 0) -> np.ndarray:
    """Edges between fragments near each other on a grid, a few to each; no volume is needed."""
    rng = np.random.default_rng(seed)
    side = round(nodes ** (1 / 3))
    u = rng.integers(0, nodes, rows)
    v = u + rng.choice([1, 2, side, side + 1, side**2, side**2 + 1], rows)
    edges = np.zeros(rows, EDGE)
    edges["u"], edges["v"] = u * 997 + 1, v * 997 + 1
    edges["count"] = rng.integers(1, 200, rows)
    edges["sum"] = (rng.random(rows) * 255 * edges["count"]).astype(np.uint64)
    return merge_edges([edges[v < nodes]])


def best_of(repeats: int, function: Callable[[], object]) -> float:
    """CPU seconds of the fastest of a few calls, after one that compiles."""
    function()
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


def main(side: int) -> None:
    """Print nanoseconds a voxel and an edge."""
    affinities, rules = electron_microscopy(side), WatershedRules()
    shape = (side, side, side)
    at = window(rules, shape, (0, 0, 0), shape)
    ids, _ = label_block(affinities, at, rules)
    edges = count_edges(ids, affinities, NEAREST, (0, 0, 0))
    nodes = np.unique(ids)
    dendrogram = agglomerate(edges, 255, ALL_MERGES, nodes=nodes)
    segments, truth = cut(dendrogram, 0.5), (ids % 1000).astype(np.uint32)
    print(f"{side}^3 voxels, {len(nodes)} fragments, {len(edges) / ids.size:.4f} edges a voxel")
    for name, function in {
        "label_block": lambda: label_block(affinities, at, rules),
        "count_edges": lambda: count_edges(ids, affinities, NEAREST, (0, 0, 0)),
        "relabel": lambda: relabel(ids, nodes, segments),
        "count_overlap": lambda: count_overlap(ids, truth),
    }.items():
        print(f"{name:14} {best_of(3, function) / ids.size * 1e9:8.1f} ns a voxel")
    graph = random_graph(400_000, 2_000_000)
    for name, function in {
        "merge_edges": lambda: merge_edges([graph[::2], graph[1::2]]),
        "agglomerate": lambda: agglomerate(graph, 255, ALL_MERGES),
        "  to 0.5": lambda: agglomerate(graph, 255, MergeRules(stop=0.5)),
    }.items():
        print(f"{name:14} {best_of(1, function) / len(graph) * 1e9:8.1f} ns an edge")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 192)
