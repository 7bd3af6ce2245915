"""What `make scale` prints: a row a run, and what larger volumes will need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from contraband.volumes.plan.bill import Usage, billed, in_words, prices
from contraband.volumes.plan.forecast import line_through
from tests.benchmarks.report import aligned
from tests.scale.running import Measured

HEAD = (
    "voxels",
    "workers",
    "killed",
    "wall s",
    "CPU ns/voxel",
    "fragments",
    "edges",
    "agglomerate",
    "segment",
    "evaluate",
    "driver MB",
    "worker MB",
    "store B/voxel",
    "dendrogram B/voxel",
    "arrays B/voxel",
    "files",
    "VOI",
    "digest",
)
STAGES = ("fragments", "edges", "agglomerate", "segment", "evaluate")
SIZES = (1e12, 1e15)


def told(found: Sequence[Measured]) -> str:
    """A row a run; the five stages in ns of CPU time a voxel inside of blocks, not told of a run that was killed."""
    return "\n".join(aligned([HEAD, *map(cells, found)], ()))


def cells(one: Measured) -> tuple[str, ...]:
    """The row of a run."""
    usage = one.usage
    stages = ("-" if one.kills else f"{1e9 * one.stages[name] / usage.voxels:.1f}" for name in STAGES)
    return (
        f"{usage.voxels:.2e}",
        str(one.workers),
        str(one.kills),
        f"{one.wall_seconds:,.1f}",
        f"{1e9 * usage.cpu_seconds / usage.voxels:.0f}",
        *stages,
        f"{usage.driver_bytes / 1e6:,.0f}",
        f"{usage.worker_bytes / 1e6:,.0f}",
        f"{usage.store_bytes / usage.voxels:.3f}",
        f"{one.dendrogram_bytes / usage.voxels:.4f}",
        f"{usage.written_bytes / usage.voxels:.3f}",
        f"{usage.files:,}",
        f"{one.voi:.4f}",
        one.digest[:8],
    )


def estimate(found: Sequence[Measured]) -> str:
    """What volumes of `SIZES` will need, by the runs with two workers, and what breaks there.

    A run that was killed, and so did some of its work twice, counts for a size that no other run had.
    """
    alone_last = sorted((one for one in found if one.workers == 2), key=lambda one: -one.kills)
    usages = list({one.usage.voxels: one.usage for one in alone_last}.values())
    if len(usages) < 2:
        return "two sizes with two workers are needed to tell of larger ones"
    lines = ["by lines through the two largest, and the assumptions of contraband/volumes/plan/prices.yaml:"]
    for size in SIZES:
        bill = billed(extended(usages, size), prices())
        driver = f"driver {bill.usage.driver_bytes / 1e9:,.1f} GB, {bill.usage.driver_seconds / 3600:,.1f} hours"
        lines.append(f"{in_words(bill, prices().currency)}; {driver}")
        lines += [f"  breaks: {line}" for line in bill.breaks]
    return "\n".join(lines)


def extended(usages: Sequence[Usage], voxels: float) -> Usage:
    """The usage for another size: each figure on the line through those of the two largest volumes, never falling."""
    largest = sorted(usages, key=lambda one: one.voxels)[-2:]
    rows = [tuple(getattr(one, field.name) for field in fields(Usage)) for one in largest]
    return Usage(voxels, *(line_through(rows, column, voxels) for column in range(1, len(rows[0]))))
