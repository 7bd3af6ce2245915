"""A made-up region graph of any size, merged in boxes: `python -m tests.scale.graph --edges 1e8 --memory 2GB`.

Fragments on a grid touch six others, with scores at random; the graph is in the store already, as *edges* would have
counted it. With --whole it is merged at once too, which takes some 150 bytes an edge, and the dendrograms are compared.
Told are edges per second of CPU time, and the peak of the one process that merges.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from blockwise.arrays.volume import Volume, create
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.executor import OnDask
from blockwise.fields import MemoryLimit
from blockwise.grid import Grid, Voxels
from blockwise.stages.agglomerate.pieces import boxes_of
from blockwise.stages.agglomerate.stage import Agglomerate, AgglomerateSettings, read_dendrogram
from blockwise.store import open_store
from tests.benchmarks.boxes import fill
from tests.benchmarks.machine import describe
from tests.support.volumes import NEAREST

STEP = 4
BLOCK: Voxels = (128, 128, 128)
EDGES_A_BLOCK = 3 * (BLOCK[0] // STEP) ** 3
MOST_DIGESTED = 400_000_000
"""Edges of a graph whose dendrogram is put together to be compared."""


@dataclass(frozen=True)
class Merged:
    """What merging took, and came to."""

    boxes: int
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    digest: str
    """sha256 of the dendrogram; empty where it is too large to be put together."""


def shape_of(edges: float) -> Voxels:
    """Of a volume with about so many edges: whole blocks, as alike along all axes as they can be."""
    blocks = max(1, round(edges / EDGES_A_BLOCK))
    across = max(1, round(blocks ** (1 / 3)))
    return (max(1, round(blocks / across**2)) * BLOCK[0], across * BLOCK[1], across * BLOCK[2])


def edges_in(shape: Voxels) -> int:
    """How many edges there are."""
    counts = [size // STEP for size in shape]
    return sum(int(np.prod(counts)) // count * (count - 1) for count in counts)


def prepare(folder: Path, shape: Voxels) -> None:
    """Make the store with the graph, and an empty array that says what scores 1."""
    create(Volume(path=folder / "affinities"), (3, *shape), "uint8", BLOCK, attributes={"offsets": NEAREST})
    with closing(open_store(f"sqlite:///{folder}/store.db")) as store:
        fill(store, Grid("edges", shape, BLOCK), STEP, in_pieces=False)


def merge(folder: Path, shape: Voxels, memory: int | None, workers: int) -> Merged:
    """Merge the graph of a folder on workers, in boxes or at once."""
    tree = Volume(path=folder / ("whole" if memory is None else "boxes"))
    stage = Agglomerate(
        affinities=Volume(path=folder / "affinities"),
        target=tree,
        shape=shape,
        block=BLOCK,
        settings=AgglomerateSettings(memory=memory, stop=0.2),
    )
    url, began = f"sqlite:///{folder}/store.db", time.monotonic()
    with (
        closing(open_store(url)) as store,
        open_cluster(Cluster(kind="local", workers=workers, threads=1, dashboard=False)) as client,
        OnDask(client, url) as executor,
    ):
        (result,) = run_stages([stage], store, executor, RunOptions(redo="agglomerate"))
    wall_s = time.monotonic() - began
    # Of the largest block: each begins to count again, so that a process itself knows of its last one only.
    peak = result.peak_rss_bytes
    found = digest(tree) if edges_in(shape) <= MOST_DIGESTED else ""
    return Merged(len(boxes_of(tree)), result.cpu_seconds, wall_s, peak, found)


def digest(group: Volume) -> str:
    """sha256 of a dendrogram, however it is stored."""
    tree, found = read_dendrogram(group), hashlib.sha256()
    for name in ("fragment", "parent", "score"):
        found.update(np.ascontiguousarray(getattr(tree, name)))
    return found.hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each way; 1 if their dendrograms differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=float, default=1e7, help="about so many")
    parser.add_argument("--memory", default="1GB", help="agglomerate.memory")
    parser.add_argument("--whole", action="store_true", help="merge it at once as well, and compare")
    parser.add_argument("--workers", type=int, default=1, help="processes that merge boxes side by side")
    parser.add_argument("--folder", type=Path, help="where the graph lies meanwhile, some 30 bytes an edge")
    chosen = parser.parse_args(arguments)
    memory = TypeAdapter(MemoryLimit).validate_python(chosen.memory)
    shape = shape_of(chosen.edges)
    count, digests = edges_in(shape), set()
    print(describe())
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        prepare(Path(name), shape)
        for limit in (memory, None)[: 1 + chosen.whole]:
            found = merge(Path(name), shape, limit, chosen.workers)
            way = f"{found.boxes} boxes of {chosen.memory}" if limit else "at once"
            rate = count / found.cpu_seconds / 1e6
            print(
                f"{count:,} edges, {way}: {found.cpu_seconds:.1f} s CPU in {found.wall_seconds:.1f} s, "
                f"{rate:.2f} million edges/s, "
                f"{found.peak_bytes / 1e9:.2f} GB, dendrogram {found.digest[:8] or 'not put together'}",
                flush=True,
            )
            digests.add(found.digest)
    return 1 if len(digests) > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
