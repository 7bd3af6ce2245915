"""How many blocks a second go through schedule, executor and store, and what a million of them cost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import batched
from pathlib import Path
from typing import Any

import psutil

from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import Progress, RunOptions
from blockwise.engine.preflight import examine
from blockwise.engine.run import run_stages
from blockwise.executor import InProcess, OnDask
from blockwise.executor.ondask.batching import LIMIT
from blockwise.store import Record, Store, open_store
from tests.benchmarks.chain import measure_chain
from tests.benchmarks.report import Row
from tests.support.paths import ROOT
from tests.support.servers import fresh_database, mongo_server
from tests.support.toys import Idle

NAME = "engine"


def measure(folder: Path, quick: bool) -> list[Row]:
    """Empty blocks through Dask, then many of them through this process, then what the scheduler needs for a chain."""
    from tests.benchmarks.prediction import measure_prediction  # brings torch, which the processes of `many` do without

    work = folder / "engine"
    work.mkdir(parents=True, exist_ok=True)
    for path in work.glob("*.db*"):
        path.unlink()
    with mongo_server(work / "mongo") as address:
        stores = {"SQLite": f"sqlite:///{work.absolute()}/run.db", "MongoDB": fresh_database(address)}
        rows = through_dask(stores, 20_000 if quick else 1_000_000, 2_000 if quick else 6_000)
        for name, url in stores.items():
            rows += many(name, url, 100_000 if quick else 1_000_000)
    return rows + measure_chain(quick) + measure_prediction(work, quick)


def through_dask(stores: dict[str, str], blocks: int, single: int) -> list[Row]:
    """Blocks a second on two workers: batched with each store; one by one beside Dask's own map of as many tasks."""
    rows = []
    with open_cluster(Cluster(dashboard=False)) as client:
        run(client, stores["SQLite"], 300)
        for name, url in stores.items():
            memory = Memory()
            rate = blocks / timed(lambda url=url, memory=memory: run(client, url, blocks, watch=memory))  # type: ignore[misc]
            what = f"{blocks:,} blocks, 2 Dask workers, {name}"
            note = "empty blocks in adaptive batches, each marked durably"
            rows += [Row(what, rate, "blocks/s", ">= 2,000", None, note), memory.row(what)]
        own, plain = one_by_one(client, stores["SQLite"], single)
        idle = idle_share()
    default, plain_idle = plain_dask(single)
    note = f"client.map: {plain:,.0f}/s on this cluster, {default:,.0f}/s on Dask's own LocalCluster"
    rows.append(Row(f"{single:,} blocks, one a task, 2 Dask workers, SQLite", own, "blocks/s", "", None, note))
    rows.append(Row("one block a task / client.map on this cluster", own / plain, "", ">= 0.9"))
    note = f"of one core, driver and scheduler included; {plain_idle:.0%} on Dask's own LocalCluster"
    rows.append(Row("2 Dask workers with nothing to do", 100 * idle, "% CPU", "<= 6", None, note))
    return rows


def idle_share(seconds: float = 10.0) -> float:
    """CPU time of this process and its children in some seconds without work, in cores."""
    time.sleep(2)  # what the last work left
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    before = [one.cpu_times() for one in processes]
    time.sleep(seconds)
    after = [one.cpu_times() for one in processes]
    return (
        sum(now.user + now.system - then.user - then.system for then, now in zip(before, after, strict=True)) / seconds
    )


def one_by_one(client: Any, url: str, tasks: int) -> tuple[float, float]:
    """Blocks a second with one a task, from the opening of the store to the last mark, and tasks a second of
    client.map; the best of four each, taken in turn, as a machine is not equally quick all the time."""
    own, plain = [], []
    map_plainly(client, 300)
    run(client, url, 300, 1)
    for _ in range(4):
        forgotten(client)
        plain.append(tasks / timed(lambda: map_plainly(client, tasks)))
        forgotten(client)
        own.append(tasks / timed(lambda: run(client, url, tasks, 1)))
    return max(own), max(plain)


def plain_dask(tasks: int) -> tuple[float, float]:
    """Tasks a second of client.map on two workers as Dask starts them by itself, and what these cost idle."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        map_plainly(client, 300)
        rate = max(tasks / timed(lambda: map_plainly(client, tasks)) for _ in range(2))
        return rate, idle_share()


def forgotten(client: Any) -> None:
    """Wait until the scheduler has dropped all tasks, which it does after `map_plainly` and within `run`."""
    while client.cluster.scheduler.tasks:
        time.sleep(0.01)


def map_plainly(client: Any, tasks: int) -> None:
    """As many tasks that do nothing, with nothing of ours around them."""
    client.gather(client.map(nothing, range(tasks), pure=False))


def nothing(place: int) -> None:
    """A task."""


class Memory:
    """What this process holds at each tenth of a run, which it watches as its progress."""

    def __init__(self) -> None:
        self.at: dict[int, int] = {}

    def __call__(self, _: str, done: int, total: int, note: str = "") -> None:
        """Look, if it is the first time in a tenth."""
        if 10 * done // total not in self.at:
            self.at[10 * done // total] = psutil.Process().memory_info().rss

    def row(self, what: str) -> Row:
        """What it grew by after the first tenth."""
        name = f"{what}: driver's memory grows between 10 % and 100 % by"
        # A short run is told of in leaps: what stands for a tenth is the first look that came after it.
        seen = {tenth: self.at[min(at for at in self.at if at >= tenth)] for tenth in (1, 4, 7, 10)}
        note = ", ".join(f"{size / 1e6:.0f} MB at {10 * tenth} %" for tenth, size in seen.items())
        return Row(name, (seen[10] - seen[1]) / 1e6, "MB", note=note)


def run(client: Any, url: str, blocks: int, limit: int = LIMIT, watch: Progress | None = None) -> None:
    """All blocks of an empty stage, from none done to finished."""
    store = open_store(url)
    with OnDask(client, url, deadline_s=3600, batch_limit=limit) as executor:
        run_stages([Idle(blocks=blocks)], store, executor, RunOptions(redo="idle", progress=watch))
    store.close()


def many(name: str, url: str, blocks: int) -> list[Row]:
    """A process of its own begins a large stage, runs a tenth of it, and finds all of it finished."""
    command = [sys.executable, "-m", "tests.benchmarks.engine", url, str(blocks)]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = json.loads(out.splitlines()[-1])
    what = f"{blocks:,} blocks, {name}"
    return [
        Row(f"{what}: until the first is done", found["first_s"], "s", "<= 5"),
        Row(f"{what}: until they are known to be finished", found["again_s"], "s", "<= 5"),
        Row(f"{blocks // 10:,} blocks in this process, {name}", blocks / 10 / found["seconds"], "blocks/s"),
    ]


def driver(url: str, blocks: int) -> dict[str, float]:
    """What `many` wants to know, measured in this process."""
    store = open_store(url)
    with InProcess(store) as executor:
        first_s = until_first(store, executor, blocks)
        part = [Idle(blocks=blocks // 10)]
        seconds = timed(lambda: run_stages(part, store, executor, RunOptions(redo="idle")))
        mark_all(store, executor, blocks)
        again_s = timed(lambda: run_stages([Idle(blocks=blocks)], store, executor))
    return {"seconds": seconds, "first_s": first_s, "again_s": again_s}


def until_first(store: Store, executor: InProcess, blocks: int) -> float:
    """Seconds from the start of a run to the first mark; the run is interrupted then."""
    begin = time.perf_counter()

    def stop(_: str, done: int, total: int, note: str = "") -> None:
        if done:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        run_stages([Idle(blocks=blocks)], store, executor, RunOptions(redo="idle", progress=stop))
    return time.perf_counter() - begin


def mark_all(store: Store, executor: InProcess, blocks: int) -> None:
    """Make the store as a run leaves it that has done all blocks."""
    job = examine([Idle(blocks=blocks)], store, executor, RunOptions(redo="idle")).jobs[0]
    store.clear("idle")
    for some in batched(job.grid.keys().ravel().tolist(), 5_000):
        store.mark("idle", [Record(key, job.info.fingerprint, 1) for key in some])
    store.put_stage(replace(job.info, finished=True))


def timed(action: Callable[[], object]) -> float:
    """Seconds it took."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.stdout.write(json.dumps(driver(sys.argv[1], int(sys.argv[2]))) + "\n")
