"""The tree of boxes: which of them are joined to larger ones, level by level, until one holds everything."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np
from pydantic import ConfigDict, Field

from blockwise.kernels.graph.boxes import Span, group
from blockwise.settings import Settings
from blockwise.stages.tables import SOLVED

log = logging.getLogger(__name__)

NONE = -1
"""The last box is in no larger one."""
LEFT = 3
"""Bytes needed to solve a box for each byte that the boxes in it left over: 110 of 42 at an edge were measured."""


class Box(Settings):
    """A box, and the smaller ones that it is made of: their levels and first leaves."""

    model_config = ConfigDict(serialize_by_alias=True)

    first: int
    end: int
    inner: tuple[tuple[int, int], ...] = Field(serialization_alias="parts")  # as the fingerprints in stores have it


class Tree:
    """All boxes, each after those within it."""

    def __init__(self, leaves: int) -> None:
        self._rows = [(0, at, NONE) for at in range(leaves)]
        self._places = {(0, at): at for at in range(leaves)}

    def add(self, level: int, boxes: Sequence[Box]) -> None:
        """The boxes of the next level."""
        for box in boxes:
            for inner in box.inner:
                self._rows[self._places[inner]] = (*inner, len(self._rows))
            self._places[level, box.first] = len(self._rows)
            self._rows.append((level, box.first, NONE))

    def solved(self) -> np.ndarray:
        """SOLVED of all."""
        return np.array(self._rows, SOLVED)


def upwards(
    spans: Sequence[Span], limit_bytes: int, nbytes: Callable[[int, int], int]
) -> Iterator[tuple[int, tuple[Box, ...]]]:
    """The levels above the leaves, each when the one before is solved, and their boxes.

    nbytes: of what a box left over, by its level and its first leaf.
    """
    waiting = [(0, span) for span in spans if span[1] - span[0] == 1]
    for level in count(1):
        if len(waiting) == 1:
            return
        # By now most edges are merged: what is left tells the memory needed, blocks would tell far too much.
        needs = [LEFT * nbytes(below, span[0]) for below, span in waiting]
        boxes = []
        for places in group([span for _, span in waiting], needs, spans, limit_bytes):
            members = [waiting[at] for at in places]
            needed = sum(needs[at] for at in places)
            # These are the fewest boxes that can be joined, and the need is an estimate: to try is better than to give
            # up.
            if needed > limit_bytes:
                log.warning(
                    "agglomerate: a box of level %d needs about %d MB, more than agglomerate.memory allows",
                    level,
                    needed >> 20,
                )
            boxes.append(
                Box(
                    first=members[0][1][0],
                    end=members[-1][1][1],
                    inner=tuple((below, span[0]) for below, span in members),
                )
            )
        yield level, tuple(boxes)
        # A box takes the place of those within; all others wait on, in the order of leaves that `group` wants.
        gone = {one for box in boxes for one in box.inner}
        kept = [one for one in waiting if (one[0], one[1][0]) not in gone]
        waiting = sorted([*kept, *((level, (box.first, box.end)) for box in boxes)], key=lambda one: one[1])
