"""Each program as a command of its own on one volume: CPU time of all its processes, and what came out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import zarr

from blockwise.grid import Grid, as_voxels
from blockwise.kernels.scores.tables import score
from blockwise.kernels.synthetic.tissue import made_up_labels
from blockwise.kernels.tables import count_overlap
from tests.benchmarks.runs import SEED, Case, affinities_of, call, ready, tiny

HERE = Path(__file__).parent
CONTEXT = (8, 8, 8)
"""Voxels that a block of volara reads beyond its own; its documents have a third of a block."""
WORKERS = 2


@dataclass(frozen=True)
class Measured:
    """What one program needed on one volume, and how its segments compare."""

    program: str
    is_ours: bool
    voxels: int
    cpu_ns: float
    """CPU time of all processes for each voxel, start-up included."""
    work_ns: float
    """The same less what the program takes on a volume of almost nothing."""
    wall_seconds: float
    segments: int
    voi_truth: float
    """Bits of split and merge against the cells the affinities were made of."""
    voi_ours: float
    """Against our own result in one block over the whole volume."""


@dataclass(frozen=True)
class Program:
    """How a program is run, and how its segments are read."""

    name: str
    command: Callable[[Case, Path], list[str]]
    """The command that segments the volume of the case; the folder is empty and its own."""
    segments: Callable[[Path], np.ndarray]
    """(z, y, x) uint64 from that folder."""
    is_ours: bool = False


@dataclass(frozen=True)
class Places:
    """Where things are."""

    folder: Path
    """For what the programs write."""
    volumes: Path
    """Affinities are made and kept there."""
    python: Path
    """The interpreter of the peers."""


def compare(places: Places, case: Case, has_volara: bool) -> list[Measured]:
    """All programs on one volume, ours first."""
    programs = [ours(places, 0), ours(places, WORKERS), waterz(places)]
    if has_volara:
        programs.append(volara(places))
    reference, truth = in_one_block(places, case), labels(case, places.volumes)
    return [measured(program, places.folder / "run", case, truth, reference) for program in programs]


def measured(program: Program, place: Path, case: Case, truth: np.ndarray, reference: np.ndarray) -> Measured:
    """Run it on almost nothing and on the volume."""
    sys.stderr.write(f"{program.name} ...\n")
    start, _ = timed(program, place, tiny(0))
    cpu, wall = timed(program, place, case)
    segments = program.segments(place)
    return Measured(
        program.name,
        program.is_ours,
        case.voxels,
        cpu_ns=1e9 * cpu / case.voxels,
        work_ns=1e9 * (cpu - start) / case.voxels,
        wall_seconds=wall,
        segments=int(np.count_nonzero(np.unique(segments))),
        voi_truth=voi(segments, truth),
        voi_ours=voi(segments, reference),
    )


def timed(program: Program, place: Path, case: Case) -> tuple[float, float]:
    """CPU seconds of all processes and wall seconds of the command."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return call(program.command(case, place))


def ours(places: Places, workers: int) -> Program:
    """`contraband run`, in one process (no workers) or on Dask."""

    def command(case: Case, place: Path) -> list[str]:
        settings, _ = ready(place, replace(case, workers=workers), affinities_of(places.volumes, case).absolute())
        return [sys.executable, "-m", "contraband", "run", str(settings)]

    where = f"{workers} workers" if workers else "one process"
    return Program(f"contraband, {where}", command, lambda place: our_segments(next(place.glob("*-out.zarr"))), True)


def our_segments(output: Path) -> np.ndarray:
    """What `contraband run` wrote at the only threshold."""
    return stored(output / "segments" / "0.5")


def in_one_block(places: Places, case: Case) -> np.ndarray:
    """Our segments of the same affinities without any blocks."""
    place = places.folder / "one-block"
    place.mkdir(parents=True, exist_ok=True)
    settings, output = ready(place, replace(case, block=case.shape), affinities_of(places.volumes, case).absolute())
    call([sys.executable, "-m", "contraband", "run", str(settings)])
    return our_segments(output)


def waterz(places: Places) -> Program:
    """waterz with its own watershed, in one piece."""

    def command(case: Case, place: Path) -> list[str]:
        return [str(places.python), str(HERE / "waterz_chain.py"), str(affinities_of(places.volumes, case)), str(place)]

    return Program("waterz, in memory", command, lambda place: np.load(place / "segments.npy"))


def volara(places: Places) -> Program:
    """volara with SQLite, on processes of its own."""

    def command(case: Case, place: Path) -> list[str]:
        script, sizes = str(HERE / "volara_chain.py"), [",".join(map(str, size)) for size in (case.block, CONTEXT)]
        affinities, output = affinities_of(places.volumes, case).absolute(), (place / "out.zarr").absolute()
        return [str(places.python), script, str(affinities), str(output), *sizes, str(WORKERS)]

    return Program(f"volara, {WORKERS} workers", command, lambda place: stored(place / "out.zarr" / "segments"))


def stored(path: Path) -> np.ndarray:
    """All of a stored array."""
    return np.asarray(zarr.open_array(path, mode="r")[:]).astype(np.uint64)


def labels(case: Case, folder: Path) -> np.ndarray:
    """The objects that the affinities were made of; kept in the folder."""
    path = folder / f"{case.name}-labels.npy"
    if not path.exists():
        truth = np.empty(case.shape, np.uint64)
        for piece in Grid("", case.shape, case.block).blocks():
            box = piece.write_roi
            truth[box.to_slices()] = made_up_labels(SEED, as_voxels(box.begin), as_voxels(box.end))
        np.save(path, truth)
    kept: np.ndarray = np.load(path)
    return kept


def voi(segments: np.ndarray, truth: np.ndarray) -> float:
    """Split and merge in bits, over all voxels."""
    return score(count_overlap(segments, truth), ignore=()).voi_sum
