"""Microseconds an edge into a store and out of it, on SQLite and on a server with MongoDB's protocol."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from funlib.geometry import Roi

from blockwise.grid import Block, Grid
from blockwise.kernels.graph.edges import EDGE
from blockwise.stages.tables import EDGES
from blockwise.store import Record, Store, open_store
from tests.benchmarks.machine import copy_bytes_a_second
from tests.benchmarks.report import Row
from tests.support.servers import fresh_database, mongo_server

NAME = "edges"
EDGES_A_BLOCK = 50_000
MARKED_TOGETHER = 10
SIDE = 1_000_000
"""Voxels of the made-up volume along an axis: numbers of fragments are as large as in a volume of 1e18 voxels."""


@dataclass(frozen=True)
class Cost:
    """What something took, for each edge."""

    wall_us: float
    cpu_us: float
    """CPU time of this process, the client."""


def measure(folder: Path, quick: bool) -> list[Row]:
    """Into and out of both stores: block by block, everything at once, and by region."""
    grid = Grid("edges", (400, 400, 400), (100, 100, 100) if quick else (80, 80, 80))
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="stores-", dir=folder))
    try:
        rows = store_rows("SQLite", f"sqlite:///{place.absolute()}/edges.db", grid)
        with mongo_server(place / "mongo") as address:
            rows += store_rows("MongoDB", fresh_database(address), grid)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return rows


def store_rows(name: str, url: str, grid: Grid) -> list[Row]:
    """The three figures of one store, which is opened anew for each; what is read is checked."""
    tables = {block.key: table for block, table in made_tables(grid)}
    edges = sum(map(len, tables.values()))
    title = f"{name}, {edges / 1e6:.1f} M edges in {grid.count} blocks"
    into = cost(url, edges, lambda store: fill(store, grid, tables))
    out = cost(url, edges, lambda store: check(store.rows(EDGES), edges))
    octants = list(Grid("edges", grid.volume, octant(grid.volume)).blocks())
    met = sum(len(tables[block.key]) for roi in octants for block in grid.blocks() if meets(block, roi.write_roi))
    region = cost(url, met, lambda store: check_regions(store, octants, met))
    limit = 1e6 * EDGE.itemsize / copy_bytes_a_second()
    return [
        Row(f"{title}: in", into.wall_us, "us/edge", "<= 2", limit, note(into, "durably marked every 10 blocks")),
        Row(f"{title}: out, all", out.wall_us, "us/edge", "<= 1", limit, note(out)),
        Row(f"{title}: out, by region", region.wall_us, "us/edge", "<= 1", limit, note(region, "eight octants")),
    ]


def made_tables(grid: Grid) -> Iterator[tuple[Block, np.ndarray]]:
    """Edges between numbers spread over a large volume, sorted as the stage stores them: hard to pack."""
    rng = np.random.default_rng(0)
    for block in grid.blocks():
        table = np.zeros(EDGES_A_BLOCK, EDGE)
        table["u"] = np.sort(rng.integers(1, SIDE**3, EDGES_A_BLOCK))
        table["v"] = table["u"] + rng.integers(1, 100 * SIDE**2, EDGES_A_BLOCK).astype(np.uint64)
        table["count"] = rng.integers(1, 500, EDGES_A_BLOCK)
        table["sum"] = (rng.random(EDGES_A_BLOCK) * 255 * table["count"]).astype(np.uint64)
        yield block, table


def cost(url: str, edges: int, action: Callable[[Store], None]) -> Cost:
    """Time passed and CPU time of this process, for each edge, opening and closing the store included."""
    wall, cpu = time.perf_counter(), time.process_time()
    store = open_store(url)
    action(store)
    store.close()
    return Cost(1e6 * (time.perf_counter() - wall) / edges, 1e6 * (time.process_time() - cpu) / edges)


def fill(store: Store, grid: Grid, tables: dict[int, np.ndarray]) -> None:
    """A table a block, as a worker puts them, and marks in batches, as the driver does."""
    blocks = list(grid.blocks())
    for place, block in enumerate(blocks, 1):
        store.put(EDGES, block.key, tables[block.key], block.write_roi)
        if place % MARKED_TOGETHER == 0 or place == len(blocks):
            batch = blocks[(place - 1) // MARKED_TOGETHER * MARKED_TOGETHER : place]
            store.mark("edges", [Record(one.key, "f", int(np.prod(grid.block))) for one in batch])


def check_regions(store: Store, regions: list[Block], edges: int) -> None:
    """Read each region; what comes must be as many as there are."""
    found = sum(len(store.rows(EDGES, one.write_roi)) for one in regions)
    assert found == edges, f"{found} of {edges} edges came back"


def check(found: np.ndarray, edges: int) -> None:
    """What comes must be as many as there are."""
    assert len(found) == edges, f"{len(found)} of {edges} edges came back"


def octant(volume: tuple[int, int, int]) -> tuple[int, int, int]:
    """Half the volume along each axis."""
    z, y, x = (size // 2 for size in volume)
    return z, y, x


def meets(block: Block, roi: Roi) -> bool:
    """Whether the block writes in the region."""
    return not block.write_roi.intersect(roi).empty


def note(found: Cost, more: str = "") -> str:
    """The CPU time, and what else is to be known."""
    return f"{found.cpu_us:.2f} us CPU of the client" + (f"; {more}" if more else "")
