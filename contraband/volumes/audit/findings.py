"""What an audit compared and found, as it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from blockwise.engine.preflight import stage_word
from blockwise.errors import WorkFailed
from blockwise.grid import Voxels
from contraband.volumes.audit.places import Seam, count_kinds

SHOWN = 20
"""Mismatches that are printed; --json has them all."""


@dataclass(frozen=True)
class Mismatch:
    """One way in which what is stored at a place is wrong."""

    stage: str
    voxel: Voxels
    world: tuple[float, ...]
    """Centre of the voxel, in the units of the voxel size."""
    voxels: int
    text: str


@dataclass
class Findings:
    """What was compared, and what was found."""

    compared: dict[str, int] = field(default_factory=dict)
    """Voxels (for edges: rows of their tables) a stage."""
    mismatches: list[Mismatch] = field(default_factory=list)
    rounded: int = 0
    """Predicted values that differ by no more than rounding, as they may on another kind of machine."""

    def add(self, stage: str, count: int) -> None:
        """Count what was compared."""
        self.compared[stage] = self.compared.get(stage, 0) + count


def print_findings(console: Console, chosen: Sequence[Seam], findings: Findings) -> None:
    """What was compared, and where it was wrong."""
    console.print(f"places where blocks meet: {len(chosen)} ({count_kinds(chosen)})")
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("compared", "mismatches"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage, count in findings.compared.items():
        wrong = sum(stage_word(one.stage) == stage for one in findings.mismatches)
        table.add_row(stage, f"{count:,} {'rows' if stage == 'edges' else 'voxels'}", str(wrong))
    console.print(table)
    if findings.rounded:
        console.print(f"prediction: {findings.rounded:,} values differ by no more than rounding does between machines")
    for one in findings.mismatches[:SHOWN]:
        console.print(f"{one.stage}: voxel {one.voxel}, at {one.world}: {one.text} ({one.voxels} voxels)")


def verdict(findings: Findings) -> None:
    """Raise WorkFailed, with the first place, if anything was wrong."""
    if not findings.mismatches:
        return
    # A table tells the block only, a voxel tells the place.
    first = min(findings.mismatches, key=lambda one: one.voxels == 0)
    raise WorkFailed(
        f"{first.stage}: what is stored at voxel {first.voxel}, at {first.world}, is not what one block gives: "
        f"{first.text}; {len(findings.mismatches)} mismatches in all; redo it: contraband run ... "
        f"--redo {stage_word(first.stage)}"
    )


def plain(chosen: Sequence[Seam], findings: Findings) -> dict[str, Any]:
    """The same for programs."""
    return {"places": [asdict(place) for place in chosen], **asdict(findings)}
