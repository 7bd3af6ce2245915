"""Microseconds an edge into a store and out of it, on SQLite and on a server with MongoDB's protocol."""

from __future__ import annotations

import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi
from pymongo import MongoClient
from pymongo.database import Database

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
MARKED_AT_ONCE = 100
"""Blocks whose marks are one document where blocks are many: those that end within half a second on many workers."""
WORKERS = 64
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
            rows.append(at_once(fresh_database(address), 2 if quick else 8))
            rows += marks_of_many(fresh_database(address), 100_000 if quick else 1_000_000)
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


def at_once(url: str, blocks: int) -> Row:
    """Edges of 64 workers that write at the same time, each with a connection of its own, so many blocks each."""
    grid = Grid("edges", (1, WORKERS, blocks), (1, 1, 1))
    _, table = next(made_tables(grid))
    slowest: list[float] = []

    def work(worker: int) -> None:
        store = open_store(url)
        for block in list(grid.blocks())[worker * blocks : (worker + 1) * blocks]:
            begin = time.perf_counter()
            store.put(EDGES, block.key, table, block.write_roi)
            slowest.append(time.perf_counter() - begin)
        store.close()

    begin = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))
    seconds = time.perf_counter() - begin
    store = open_store(url)
    check(np.concatenate([rows for _, rows in store.each(EDGES)]), grid.count * EDGES_A_BLOCK)
    store.close()
    edges = grid.count * EDGES_A_BLOCK
    what = f"MongoDB, {WORKERS} workers at once, {edges / 1e6:.1f} M edges: in"
    remark = f"threads of one process; the slowest table of {EDGES_A_BLOCK:,} edges took {max(slowest):.1f} s"
    return Row(what, 1e6 * seconds / edges, "us/edge", note=remark)


def marks_of_many(url: str, blocks: int) -> list[Row]:
    """What the marks of so many blocks take on the server, and in the process that asks which are done."""
    side = round(blocks ** (1 / 3)) + 1
    grid = Grid("edges", (side, side, side), (1, 1, 1))
    keys = grid.keys().ravel()[:blocks].tolist()
    store = open_store(url)
    for some in batched(keys, MARKED_AT_ONCE):
        store.mark("edges", [Record(key, "f" * 64, 1) for key in some])
    store.close()
    database: Database[dict[str, Any]] = MongoClient(url).get_default_database()
    said = database.command("collStats", "marks")
    database.client.close()
    store = open_store(url)
    tracemalloc.start()
    begin = time.perf_counter()
    assert store.done_mask("edges", grid, "f" * 64).sum() == blocks
    seconds, peak = time.perf_counter() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    store.close()
    what, goal = f"MongoDB, marks of {blocks:,} blocks", f"<= {100 * blocks / 1e6:g}"
    stored = (said["size"] + said["totalIndexSize"]) / 1e6
    return [
        Row(f"{what}: stored", stored, "MB", goal, note=f"indexes included; {MARKED_AT_ONCE} marked at a time"),
        Row(f"{what}: asked for", peak / 1e6, "MB", goal, note=f"of the client, at most; {seconds:.1f} s"),
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
