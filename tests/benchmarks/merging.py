"""The full dendrogram of a large region graph on one core."""

from __future__ import annotations

from pathlib import Path

from blockwise.kernels.graph.edges import EDGE
from tests.benchmarks.agglomeration import measure_apart
from tests.benchmarks.machine import copy_bytes_a_second
from tests.benchmarks.report import Row

NAME = "agglomeration"
DENDROGRAM = 24
"""Bytes of the result for each fragment."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Edges a second, and bytes an edge beside the edges given."""
    edges = 1_000_000 if quick else 10_000_000
    found = measure_apart(edges)
    moved = EDGE.itemsize + DENDROGRAM * found["fragments"] / edges
    what = f"full dendrogram of {edges / 1e6:.0f} M edges, one core"
    seconds = f"{found['cpu_seconds']:.1f} s CPU, {found['fragments'] / 1e6:.1f} M fragments"
    return [
        Row(what, found["edges_a_second"], "edges/s", ">= 1,000,000", copy_bytes_a_second() / moved, seconds),
        Row(
            f"{what}: memory", found["bytes_an_edge"], "B/edge", "<= 70", note=f"on top of the {EDGE.itemsize} B given"
        ),
    ]
