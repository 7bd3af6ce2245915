"""Places where blocks meet, chosen evenly by a hash that knows a seed and a number and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations

from funlib.geometry import Coordinate, Roi

from blockwise.grid import Grid, Voxels, as_voxels

KINDS = ("inside", "face", "edge", "corner")
"""What a place is, by the number of axes on which a block begins there."""


@dataclass(frozen=True)
class Seam:
    """A voxel that is the first of its block along some axes, beside voxels of other blocks."""

    voxel: Voxels
    across: tuple[int, ...]
    """Axes along which the voxel before it is in another block."""

    @property
    def kind(self) -> str:
        """face, edge or corner of a block; inside if the volume is one block."""
        return KINDS[len(self.across)]

    def window(self, reach: int, volume: Voxels) -> Roi:
        """The voxels up to `reach` away on both sides, clipped at the volume."""
        centre, step = Coordinate(self.voxel), Coordinate((reach,) * 3)
        return Roi(centre - step, step * 2).intersect(Roi((0, 0, 0), volume))


def places(grid: Grid, samples: int, seed: int) -> list[Seam]:
    """So many places, corners, edges and faces of all directions in turn; fewer if the same is drawn twice.

    A further sample never moves those before it.
    """
    meeting = [axis for axis in range(3) if grid.counts[axis] > 1]
    turns = [across for count in range(len(meeting), 0, -1) for across in combinations(meeting, count)] or [()]
    drawn = [_draw(grid, turns[number % len(turns)], number, seed) for number in range(samples)]
    return list(dict.fromkeys(drawn))


def count_kinds(chosen: Iterable[Seam]) -> str:
    """As people read it: `corners: 3, edges: 2`."""
    found = Counter(place.kind for place in chosen)
    return ", ".join(f"{kind}s: {found[kind]}" for kind in reversed(KINDS[1:]) if found[kind]) or "the only block"


def _draw(grid: Grid, across: tuple[int, ...], number: int, seed: int) -> Seam:
    voxel = []
    for axis, (count, step, size) in enumerate(zip(grid.counts, grid.block, grid.volume, strict=True)):
        hashed = int.from_bytes(sha256(f"{seed} {number} {axis}".encode()).digest()[:8], "big")
        voxel.append((1 + hashed % (count - 1)) * step if axis in across else hashed % size)
    return Seam(as_voxels(voxel), across)
