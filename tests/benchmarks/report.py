"""What a benchmark found, and how it is shown: a table on the screen, Markdown for the README, JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure of a section of `make bench`.

    A section is a module of this package with `NAME: str` and `measure(folder: Path, quick: bool) -> list[Row]`, where
    `folder` is for what it makes and keeps.
    """

    what: str
    """What was measured, on how much, in a few words."""
    value: float
    unit: str
    """Such as "ns CPU/voxel" or "edges/s"."""
    goal: str = ""
    """What it is meant to reach, such as "<= 150"; empty: nothing was promised."""
    limit: float | None = None
    """What this machine allows at best (memory bandwidth, say), in the same unit; None: no such bound is known."""
    note: str = ""
    """What a reader must know to understand the figure."""
