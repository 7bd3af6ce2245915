"""Stored affinities to stored segments with `contraband run`, measured from outside."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from blockwise.stage import Grid
from blockwise.store import open_store
from blockwise.volume import Volume, Voxels, create, write
from contraband.synthetic_affinities import em_like_affinities

NEAREST = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]
SEED = 3


@dataclass(frozen=True)
class Figures:
    """What one run cost."""

    voxels: int
    workers: int
    """Dask workers; 0: in one process without Dask."""
    cpu_ns_a_voxel: float
    """User and system time of all processes, start-up included."""
    wall_seconds: float
    peak_rss_bytes: int
    """Of the largest worker."""
    bytes_a_read_voxel: float
    """What a worker's memory grows by in the hungriest stage, for each voxel that a block of fragments reads."""
    edges_a_voxel: float
    stages: dict[str, float]
    """CPU nanoseconds a voxel inside the blocks of each stage."""


def measure(folder: Path, shape: Voxels, block: Voxels, workers: int) -> Figures:
    """Make the volume if it is not there, segment it, and give the figures."""
    name = "x".join(map(str, shape))
    affinities = folder / f"{name}.zarr" / "affinities"
    make_affinities(affinities, shape, block)
    output = folder / f"{name}-out.zarr"
    shutil.rmtree(output, ignore_errors=True)
    for path in folder.glob(f"{output.stem}.db*"):
        path.unlink()
    settings = write_settings(folder / f"{name}.yaml", affinities, output, block, workers)
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "contraband", "run", str(settings)], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return figures(output, shape, block, workers, cpu, wall)


def figures(output: Path, shape: Voxels, block: Voxels, workers: int, cpu: float, wall: float) -> Figures:
    """The figures of a finished run."""
    stages = json.loads((output / "report.json").read_text(encoding="utf-8"))["stages"]
    voxels = shape[0] * shape[1] * shape[2]
    blockwise = [row["peak_rss_bytes"] for name, row in stages.items() if name != "agglomerate"]
    peak = max(blockwise)
    read_voxels = Grid("", shape, block).inflation() * block[0] * block[1] * block[2]
    store = open_store(f"sqlite:///{output.with_suffix('.db').absolute()}")
    edges = sum(len(table) for _, table in store.tables("edges"))
    store.close()
    return Figures(
        voxels=voxels, workers=workers, cpu_ns_a_voxel=1e9 * cpu / voxels, wall_seconds=wall, peak_rss_bytes=peak,
        bytes_a_read_voxel=peak / read_voxels, edges_a_voxel=edges / voxels,
        stages={name: 1e9 * row["cpu_seconds"] / voxels for name, row in stages.items()},
    )


def make_affinities(path: Path, shape: Voxels, block: Voxels) -> None:
    """Write EM-like affinities block by block; a finished volume is kept."""
    done = path.parent / "done"
    if done.exists():
        return
    volume = Volume(path=path)
    create(volume, (3, *shape), "uint8", block, attributes={"offsets": NEAREST})
    for piece in Grid("", shape, block).blocks():
        affinities, _ = em_like_affinities(tuple(piece.write_roi.shape), SEED, tuple(piece.write_roi.begin))
        write(volume, piece.write_roi, affinities)
    done.touch()


def write_settings(path: Path, affinities: Path, output: Path, block: Voxels, workers: int) -> Path:
    """The settings file of the run."""
    path.write_text(
        f"affinities: {affinities}\noutput: {output}\nblocks: {{shape: {list(block)}}}\n"
        f"cluster: {{kind: {'local' if workers else 'none'}, workers: {max(workers, 1)}, threads: 1}}\n",
        encoding="utf-8",
    )
    return path
