"""Bytes a fragment that driver and workers hold: `python -m tests.benchmarks.boxes [limit in bytes]`.

A region graph is merged and cut, at once and in boxes. It is made up, and in the store already: fragments on a grid,
each touching six, and on each face of a block twice as many pieces of fragments as edges of the block. Counted is what
Python and numpy take, without libraries.
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from blockwise.arrays.volume import Volume, create
from blockwise.grid import Block, Grid, Voxels
from blockwise.kernels.components import PAIR
from blockwise.kernels.graph.edges import EDGE
from blockwise.stage import Stage
from blockwise.stages.agglomerate.stage import Agglomerate, AgglomerateSettings
from blockwise.stages.segment import Segment
from blockwise.stages.tables import EDGES, JOINS, NODE, NODES
from blockwise.store import Store, open_store
from tests.support.volumes import NEAREST

STEP = 8
"""Voxels between fragments."""
BLOCK: Voxels = (64, 64, 64)


class Peaks:
    """The most that was held by who, in bytes."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}

    def of[Found](self, who: str, work: Callable[[], Found]) -> Found:
        """Do some work, and note what it held at most."""
        tracemalloc.start()
        found = work()
        self.most[who] = max(self.most.get(who, 0), tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        return found


def fill(store: Store, grid: Grid, step: int = STEP, in_pieces: bool = True, seed: int = 0) -> int:
    """Keep what *edges* would count in a volume full of small cubes; returns how many there are.

    step: voxels between them. in_pieces: they go on from block to block in pieces.
    """
    rng, total = np.random.default_rng(seed), 0
    for block in grid.blocks():
        begin, end = block.write_roi.begin, block.write_roi.end
        places = np.stack(np.mgrid[tuple(slice(a, b, step) for a, b in zip(begin, end, strict=True))], -1).reshape(
            -1, 3
        )
        nodes, edges = np.zeros(len(places), NODE), []
        nodes["fragment"] = number(places, grid)
        for axis in range(3):
            inner = places[places[:, axis] > 0]
            rows = np.zeros(len(inner), EDGE)
            rows["u"], rows["v"] = number(inner - step * np.eye(3, dtype=int)[axis], grid), number(inner, grid)
            rows["count"] = step**2
            rows["sum"] = rng.integers(0, 255 * step**2, len(inner))
            edges.append(rows)
        joined = pieces(block, grid) if in_pieces else np.empty(0, PAIR)
        store.put(EDGES, block.key, np.concatenate(edges), block.write_roi)
        store.put(JOINS, block.key, joined, block.write_roi)
        nodes = np.concatenate([nodes, np.ascontiguousarray(joined["v"]).view(NODE)])
        store.put(NODES, block.key, nodes, block.write_roi)
        total += len(places)
    return total


def pieces(block: Block, grid: Grid) -> np.ndarray:
    """PAIR of what fragments before the low faces go on as behind them."""
    begin, end = block.write_roi.begin, block.write_roi.end
    found = [np.empty(0, PAIR)]
    for axis in np.flatnonzero(begin):
        # On odd voxels, where no fragment begins.
        slices = [slice(a + 1, b, 2) for a, b in zip(begin, end, strict=True)]
        slices[axis] = slice(begin[axis], begin[axis] + 1)
        behind = np.stack(np.mgrid[tuple(slices)], -1).reshape(-1, 3)
        before = behind - np.eye(3, dtype=int)[axis]
        rows = np.empty(len(behind), PAIR)
        rows["u"], rows["v"] = number(before // STEP * STEP, grid), number(behind, grid)
        found.append(rows)
    return np.concatenate(found)


def number(places: np.ndarray, grid: Grid) -> np.ndarray:
    """What the fragments are called that begin at these voxels (n, 3)."""
    return np.ravel_multi_index(tuple(places.T), grid.volume) + 1


def line(folder: Path, shape: Voxels, memory: int | None) -> list[Stage]:
    """Agglomerate and segment, on arrays that are empty."""
    affinities, fragments = Volume(path=folder / "affinities"), Volume(path=folder / "fragments")
    create(affinities, (3, *shape), "uint8", BLOCK, attributes={"offsets": NEAREST})
    create(fragments, shape, "uint64", BLOCK)
    tree, target = Volume(path=folder / "agglomeration"), Volume(path=folder / "segments")
    merging = AgglomerateSettings(memory=memory, stop=0.2)
    numbers = {"threshold": 0.5, "stop": 0.2, "numbers": "fragment"}
    common = {"fragments": fragments, "shape": shape, "block": BLOCK}
    return [
        Agglomerate(affinities=affinities, target=tree, settings=merging, **common),
        Segment(target=target, dendrogram=tree, **numbers, **common),
    ]


def measure(layers: int, memory: int | None) -> Iterator[tuple[str, int, int]]:
    """(who, bytes, fragments) of a volume of so many layers of blocks, 8 x 8 each."""
    shape = (layers * BLOCK[0], 8 * BLOCK[1], 8 * BLOCK[2])
    with tempfile.TemporaryDirectory() as name, closing(open_store(f"sqlite:///{name}/store.db")) as store:
        merging, segment = line(Path(name), shape, memory)
        fragments = fill(store, Grid("edges", shape, BLOCK))
        peaks = Peaks()
        for stage, word in ((merging, "agglomerate"), (segment, "segment")):
            peaks.of(f"{word}: driver", lambda stage=stage: stage.prepare(store))
            run(stage, store, peaks, word)
        yield from ((who, most, fragments) for who, most in peaks.most.items())


def run(stage: Stage, store: Store, peaks: Peaks, word: str) -> None:
    """The substages of a stage, and its own block if that is what merges."""
    substages = iter(stage.substages(store))
    while substage := peaks.of(f"{word}: driver", lambda: next(substages, None)):
        is_naming = substage.name.split("/")[1] in ("borders", "shared", "united", "named")
        who = f"{word}: a worker" + (", names of borders" if is_naming else "")
        for block in substage.grid().blocks():
            peaks.of(who, lambda substage=substage, block=block: substage.process(block, store))
    if word == "agglomerate":
        (block,) = stage.grid().blocks()
        peaks.of(f"{word}: a worker", lambda: stage.process(block, store))
        peaks.of(f"{word}: driver", lambda: stage.finish(store))


def main(arguments: list[str]) -> None:
    """Print both ways for two sizes of a volume, the limit being the same."""
    limit = int(arguments[0]) if arguments else 20_000_000
    for memory in (None, limit):
        for layers in (4, 16):
            for who, most, fragments in measure(layers, memory):
                way = f"boxes of {memory / 1e6:.0f} MB" if memory else "at once"
                print(
                    f"{way}, {fragments:,} fragments, {who}: {most / 1e6:.1f} MB, {most / fragments:.1f} B a fragment"
                )


if __name__ == "__main__":
    main(sys.argv[1:])
