"""One size of `make scale`: a run from made-up affinities to scores, what it took, and the digest of what it made."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from blockwise.files.whole import write_json
from blockwise.grid import Grid, Voxels
from contraband.volumes.plan.bill import Usage
from tests.scale.watching import Watched, Watcher, command, shards

BLOCK = (64, 128, 128)
SHAPES: dict[int, Voxels] = {
    7: (128, 128, 640),
    8: (256, 512, 768),
    9: (512, 1024, 1920),
    10: (1024, 2048, 4736),
}
"""Whole blocks, within 5 % of 10 to that power."""
SETTINGS = """affinities: synthetic://7?shape={shape}
volume: {{labels: "synthetic://7/labels?shape={shape}"}}
output: {output}
blocks: {{shape: [{block}]}}
agglomerate: {{memory: 400MB}}
cluster: {{kind: local, workers: {workers}, threads: 1, dashboard: false}}
"""


@dataclass(frozen=True)
class Case:
    """What is run."""

    shape: Voxels
    workers: int
    kills: int = 0
    """So often it is killed, with all its processes, and started again."""

    @property
    def voxels(self) -> int:
        """Of the volume."""
        return math.prod(self.shape)

    @property
    def name(self) -> str:
        """Names its files."""
        return f"{'x'.join(map(str, self.shape))}-{self.workers}" + (f"-killed{self.kills}" if self.kills else "")


@dataclass(frozen=True)
class Measured:
    """What a run took and made."""

    name: str
    workers: int
    kills: int
    usage: Usage
    wall_seconds: float
    stages: dict[str, float]
    """CPU seconds inside the blocks of each stage."""
    dendrogram_bytes: int
    digest: str
    voi: float
    """The best sum of split and merge, in bits."""


def measured(folder: Path, case: Case) -> Measured:
    """What is known of the case, or is measured now; an interrupted measurement goes on where it stopped."""
    kept = folder / f"{case.name}.json"
    if kept.exists():
        return from_json(json.loads(kept.read_text(encoding="utf-8")))
    found = run(folder, case)
    write_json(kept, asdict(found))
    for path in folder.glob(f"{case.name}.*"):
        if path.is_dir():
            shutil.rmtree(path)
        elif path != kept:
            path.unlink()
    return found


def run(folder: Path, case: Case) -> Measured:
    """Run it to its end, started again as often as it is to be killed, and again when this was interrupted."""
    output, state, settings = (folder / f"{case.name}.{end}" for end in ("zarr", "state", "yaml"))
    shape, block = (",".join(map(str, one)) for one in (case.shape, BLOCK))
    settings.write_text(
        SETTINGS.format(shape=shape, output=output.absolute(), block=block, workers=case.workers), encoding="utf-8"
    )
    watched = Watched(**json.loads(state.read_text(encoding="utf-8"))) if state.exists() else Watched()
    is_over = False
    while not is_over:
        try:
            is_over = Watcher(output, watched).start(command(settings), output.with_suffix(".log"), due(output, case))
        finally:
            write_json(state, asdict(watched))
    if watched.kills != case.kills:
        raise RuntimeError(f"{case.name}: was killed {watched.kills} times, as it ended before: take a larger volume")
    return summary(output, case, watched)


def due(output: Path, case: Case) -> Callable[[Watched], bool]:
    """When the next kill is due: in the middle of the fragments, then in the middle of the segments."""
    half = Grid("", case.shape, BLOCK).count / 2

    def is_due(watched: Watched) -> bool:
        if watched.kills >= case.kills:
            return False
        return (len(watched.sums) if watched.kills else len(shards(output / "fragments"))) >= half

    return is_due


def summary(output: Path, case: Case, watched: Watched) -> Measured:
    """All figures of a run that has ended."""
    stages = json.loads((output / "report.json").read_text(encoding="utf-8"))["stages"]
    scores = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    files = [path for path in output.rglob("*") if path.is_file()]
    usage = Usage(
        voxels=case.voxels,
        cpu_seconds=watched.cpu_seconds,
        driver_seconds=watched.driver_seconds,
        worker_bytes=watched.worker_bytes,
        driver_bytes=watched.driver_bytes,
        store_bytes=sum(path.stat().st_size for path in output.parent.glob(f"{output.stem}.db*")),
        written_bytes=sum(path.stat().st_size for path in files) + watched.segments_bytes,
        files=len(files) + len(watched.sums),
    )
    dendrogram = sum(path.stat().st_size for path in files if path.is_relative_to(output / "agglomeration"))
    return Measured(
        name=case.name,
        workers=case.workers,
        kills=watched.kills,
        usage=usage,
        wall_seconds=watched.wall_seconds,
        stages={name: row["cpu_seconds"] for name, row in stages.items()},
        dendrogram_bytes=dendrogram,
        digest=digest(output, watched),
        voi=scores["best"]["voi_sum"],
    )


def digest(output: Path, watched: Watched) -> str:
    """sha256 of all that was made: fragments, dendrogram, scores, and segments, which are deleted by then."""
    sums = dict(watched.sums)
    for path in [*shards(output / "fragments"), *shards(output / "agglomeration"), output / "evaluation.json"]:
        sums[str(path.relative_to(output))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


def from_json(data: dict[str, object]) -> Measured:
    """The inverse of `asdict`."""
    found = Measured(**data)  # type: ignore[arg-type]
    return replace(found, usage=Usage(**data["usage"]))  # type: ignore[arg-type]
