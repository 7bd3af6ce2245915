"""The levels of a dendrogram: what stages have in common that go through its boxes, a level at a time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockwise.arrays.volume import Volume
from blockwise.grid import Block, Grid
from blockwise.stage import Stage
from blockwise.stages.agglomerate.pieces import boxes_of
from blockwise.stages.agglomerate.substage import place_of
from blockwise.stages.agglomerate.tree import NONE
from blockwise.stages.tables import SOLVED


class OfLevel(Stage):
    """A block for each box of a level."""

    dendrogram: Volume
    level: int
    boxes: int
    """How many the level has."""
    plan: str
    """A digest of all boxes."""

    def grid(self) -> Grid:
        return Grid(self.name, (self.boxes, 1, 1), (1, 1, 1))

    def parameters(self) -> dict[str, object]:
        # The rest is in the fingerprint of the stage that asks.
        return {"boxes": self.boxes, "plan": self.plan}

    def row(self, block: Block, solved: np.ndarray) -> int:
        """The row of a block's box among all boxes (SOLVED)."""
        return int(np.flatnonzero(solved["level"] == self.level)[place_of(block)])


@dataclass(frozen=True)
class BoxLevels:
    """All levels of the boxes of a dendrogram, 0 of the leaves first."""

    dendrogram: Volume
    solved: np.ndarray
    """SOLVED of all boxes."""
    is_whole: bool = False
    """It is stored as a whole: one box, of which there is no piece."""

    @property
    def numbers(self) -> list[int]:
        """What the levels are called."""
        found: list[int] = np.unique(self.solved["level"]).tolist()
        return found

    def of(self, level: int) -> dict[str, Any]:
        """Settings of a stage `OfLevel`."""
        boxes = int(np.count_nonzero(self.solved["level"] == level))
        plan = hashlib.sha256(self.solved.tobytes()).hexdigest()
        return {"dendrogram": self.dendrogram, "level": level, "boxes": boxes, "plan": plan}


def levels_of(dendrogram: Volume) -> BoxLevels:
    """The levels of a stored dendrogram; one that is stored as a whole is one box."""
    solved = boxes_of(dendrogram)
    if len(solved):
        return BoxLevels(dendrogram, solved)
    return BoxLevels(dendrogram, np.array([(0, 0, NONE)], SOLVED), is_whole=True)


def within(row: int, solved: np.ndarray) -> list[int]:
    """The rows of the boxes in a box."""
    found: list[int] = np.flatnonzero(solved["above"] == row).tolist()
    return found
