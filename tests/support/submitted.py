"""Runs of a small stage on a batch system, and the same in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, info, read
from blockwise.cluster.open import open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.engine.options import RunOptions
from blockwise.engine.run import run_stages
from blockwise.executor import InProcess, OnDask
from blockwise.store import open_store
from tests.support.toys import SlowSmear, source_volume

Watch = Callable[[int, int], None]
"""Is told how many blocks are done, and how many there are."""


def settings(folder: Path, **changes: object) -> Cluster:
    """Two workers, for which the one node has room."""
    given = {"kind": "slurm", "workers": 2, "memory": "400MB", "dashboard": False}
    given |= {"job_logs": str(folder / "jobs"), "shared_folder": str(folder / "shared")}
    return Cluster.parse({**given, **changes}, "cluster")


def stage(folder: Path, blocks: int, seconds: float) -> SlowSmear:
    """A stage of so many small blocks."""
    source = source_volume(folder / "in.zarr" / "raw", (4, 4, 4 * blocks))
    return SlowSmear(source=source, target=Volume(path=folder / "out.zarr" / "smear"), seconds=seconds)


def run(folder: Path, cluster: Cluster, blocks: int, seconds: float, watch: Watch | None = None) -> str:
    """Run the stage on a cluster; the checksum of what it wrote."""
    smear = stage(folder, blocks, seconds)
    store = open_store(f"sqlite:///{folder}/store.db")

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if watch is not None:
            watch(done, total)

    with open_cluster(cluster) as client, OnDask(client, store.url, batch_limit=1) as executor:
        run_stages([smear], store, executor, RunOptions(progress=progress))
    store.close()
    return checksum(smear.target)


def checksum(volume: Volume) -> str:
    """Of all voxels."""
    shape = info(volume).shape
    return hashlib.sha256(read(volume, Roi((0, 0, 0), shape)).tobytes()).hexdigest()


def undisturbed(folder: Path, blocks: int) -> str:
    """The checksum of the same run in this process."""
    folder.mkdir()
    smear = stage(folder, blocks, 0.0)
    store = open_store(f"sqlite:///{folder}/store.db")
    with InProcess(store) as executor:
        run_stages([smear], store, executor)
    store.close()
    return checksum(smear.target)


class Once:
    """Does something as soon as so many blocks are done, for each of these numbers once."""

    def __init__(self, act: Callable[[], None], *when: int) -> None:
        self.act = act
        self.when = list(when)

    def __call__(self, done: int, total: int) -> None:
        while self.when and done >= self.when[0]:
            self.when.pop(0)
            self.act()
