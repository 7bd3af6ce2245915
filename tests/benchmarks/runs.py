"""`contraband run` from stored affinities to stored segments, measured from outside."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from blockwise.arrays.volume import Volume, create, write
from blockwise.files.synthetic import VERSION
from blockwise.grid import Grid, Voxels, as_voxels
from blockwise.kernels.synthetic.tissue import made_up_affinities
from blockwise.stages.affinity import NEAREST
from blockwise.stages.agglomerate.pieces import boxes_of
from blockwise.stages.tables import EDGES
from blockwise.store import open_store

SEED = 3


@dataclass(frozen=True)
class Case:
    """What is run."""

    shape: Voxels
    block: Voxels
    workers: int
    """Dask workers; 0: in one process without Dask."""
    memory: str = "auto"
    """What a region graph may take in one process."""

    @property
    def voxels(self) -> int:
        """Of the whole volume."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def name(self) -> str:
        """Names its files; runs that differ in `workers` or `memory` only use the same."""
        return "x".join(map(str, self.shape)) + "-" + "x".join(map(str, self.block))

    @property
    def place(self) -> str:
        """Where the blocks run, in words."""
        return f"{self.workers} Dask workers" if self.workers else "one process"

    def __str__(self) -> str:
        return f"{self.voxels / 1e6:.1f} M voxels, {self.place}"


@dataclass(frozen=True)
class Run:
    """What one run cost."""

    case: Case
    cpu_seconds: float
    """User and system time of all processes, start-up included."""
    wall_seconds: float
    peaks: dict[str, int]
    """Bytes of the largest worker in each stage, its libraries included."""
    read_voxels: float
    """Voxels that an inner block of the fragments stage reads."""
    edges: int
    boxes: int
    """That the region graph was solved in; 0: as a whole."""
    stages: dict[str, float]
    """CPU seconds inside the blocks of each stage."""

    @property
    def cpu_ns_a_voxel(self) -> float:
        """CPU time of all processes for each voxel of the volume."""
        return 1e9 * self.cpu_seconds / self.case.voxels

    @property
    def peak_bytes(self) -> int:
        """Of the largest worker in the stages that go block by block."""
        return max(peak for name, peak in self.peaks.items() if name != "agglomerate")


def tiny(workers: int) -> Case:
    """A volume so small that its run costs the start-up only, and its workers hold their libraries only.

    Two blocks, so that two workers load them.
    """
    return Case((16, 32, 32), (8, 32, 32), workers)


@cache
def best_run(folder: Path, case: Case) -> Run:
    """The run with the least CPU time, as whatever else goes on can only add: of two, or of four short ones.

    It is kept for the other sections.
    """
    return min((run(folder, case) for _ in range(2 if case.voxels > 5e7 else 4)), key=lambda one: one.cpu_seconds)


def run(folder: Path, case: Case) -> Run:
    """Make the volume if it is not there, segment it anew, and measure."""
    settings, output = ready(folder, case, affinities_of(folder, case))
    cpu, wall = call([sys.executable, "-m", "contraband", "run", str(settings)])
    return figures(output, case, cpu, wall)


def affinities_of(folder: Path, case: Case) -> Path:
    """The stored affinities, made if they are not there."""
    path = folder / f"{case.name}.zarr" / "affinities"
    make_affinities(path, case.shape, case.block)
    return path


def ready(folder: Path, case: Case, affinities: Path) -> tuple[Path, Path]:
    """The settings file of a run, and its output, which is not there any more."""
    output = folder / f"{case.name}-out.zarr"
    shutil.rmtree(output, ignore_errors=True)
    for path in folder.glob(f"{output.stem}.db*"):
        path.unlink()
    return write_settings(folder / f"{case.name}.yaml", affinities, output, case), output


def call(command: list[str]) -> tuple[float, float]:
    """CPU seconds of all its processes, and seconds that passed; raises RuntimeError with what it said if it fails."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def figures(output: Path, case: Case, cpu: float, wall: float) -> Run:
    """The figures of a finished run."""
    stages = json.loads((output / "report.json").read_text(encoding="utf-8"))["stages"]
    block = case.block[0] * case.block[1] * case.block[2]
    store = open_store(f"sqlite:///{output.with_suffix('.db').absolute()}")
    edges = sum(len(table) for _, table in store.each(EDGES))
    store.close()
    return Run(
        case,
        cpu_seconds=cpu,
        wall_seconds=wall,
        edges=edges,
        boxes=len(boxes_of(Volume(path=output / "agglomeration"))),
        peaks={name: row["peak_rss_bytes"] for name, row in stages.items()},
        read_voxels=stages["fragments"]["context_inflation"] * block,
        stages={name: row["cpu_seconds"] for name, row in stages.items()},
    )


def make_affinities(path: Path, shape: Voxels, block: Voxels) -> None:
    """Affinities of the made-up tissue; a finished volume is kept."""
    done = path.parent / f"done-{VERSION}"
    if done.exists():
        return
    write_affinities(path, shape, block, block)
    done.touch()


def write_affinities(path: Path, shape: Voxels, block: Voxels, shard: Voxels) -> Volume:
    """Write affinities of the made-up tissue block by block, of which each is whole shards."""
    volume = Volume(path=path)
    create(volume, (3, *shape), "uint8", shard, attributes={"offsets": [list(offset) for offset in NEAREST]})
    for piece in Grid("", shape, block).blocks():
        box = piece.write_roi
        write(volume, box, made_up_affinities(SEED, as_voxels(box.begin), as_voxels(box.end)))
    return volume


def write_settings(path: Path, affinities: Path, output: Path, case: Case) -> Path:
    """The settings file of the run."""
    kind = "local" if case.workers else "none"
    path.write_text(
        f"affinities: {affinities}\noutput: {output}\nblocks: {{shape: {list(case.block)}}}\n"
        f"cluster: {{kind: {kind}, workers: {max(case.workers, 1)}, threads: 1}}\n"
        f"agglomerate: {{memory: {case.memory}}}\n",
        encoding="utf-8",
    )
    return path
