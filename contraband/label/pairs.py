"""Pairs of voxels of the same object, or of two: on disk, and what they say of classes.

Both ends of a pair lie inside of objects. Between those of one object the affinity is 1 all the way, so the voxel of
the straight line between them that looks least like inside is taught to be inside. Between those of two objects the
affinity is 0 somewhere, most likely at that very voxel, which is taught to be what parts objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.files.whole import write_text
from blockwise.grid import Voxels
from contraband.label.record import Point, append_line, check_point, cut_last_line
from contraband.models.classes import CLASSES, INSIDE

HEADER = "z,y,x,to_z,to_y,to_x,same"
APART = [number for number in range(len(CLASSES)) if number != INSIDE]
"""Classes that part objects."""


class LabelPair(NamedTuple):
    """Two voxels inside of objects."""

    first: Voxels
    second: Voxels
    is_same: bool
    """Whether it is one object; else there are two."""

    @property
    def ends(self) -> list[Point]:
        """What is known of both."""
        return [Point(self.first, INSIDE), Point(self.second, INSIDE)]

    @property
    def line(self) -> list[Voxels]:
        """The voxels of the straight line between them, without the ends."""
        begin, end = np.array(self.first), np.array(self.second)
        steps = int(np.abs(end - begin).max())
        places = np.rint(begin + (end - begin) * np.arange(1, steps)[:, None] / max(1, steps)).astype(np.int64)
        return [(z, y, x) for z, y, x in places.tolist()]

    def taught(self, probabilities_P3: NDArray[np.floating]) -> list[Point]:
        """What the line says; nothing where both ends are neighbours.

        probabilities_P3: of the classes at the voxels of the line, as a head tells them that knows the ends.
        """
        if not len(probabilities_P3):
            return []
        least = int(np.argmin(probabilities_P3[:, INSIDE]))
        parting = APART[::-1][int(np.argmax(probabilities_P3[least, APART[::-1]]))]  # boundary, if neither is known
        return [Point(self.line[least], INSIDE if self.is_same else parting)]


class PairsRecord:
    """Pairs in the order of their clicks, beside the points, whose record is held meanwhile. A kill loses none."""

    def __init__(self, path: Path, shape: Voxels) -> None:
        """path: the CSV, made by the first pair. Raises BadInput if it holds anything but pairs of the volume."""
        self.path = path
        self.undone = path.with_suffix(".undone.csv")
        self._shape = shape
        self._pairs = read_pairs(path)
        for pair in self._pairs:
            self._check(pair, path)
        if path.exists() and not path.read_bytes().endswith(b"\n"):  # no half line before the next one
            write_text(path, "".join([HEADER + "\n", *map(_line, self._pairs)]))

    @property
    def pairs(self) -> tuple[LabelPair, ...]:
        """All of them."""
        return tuple(self._pairs)

    def add(self, pair: LabelPair) -> None:
        """Append a pair, which is on the disk when this returns; BadInput if it is none of the volume."""
        self._check(pair, "pair")
        append_line(self.path, _line(pair), HEADER + "\n")
        self._pairs.append(pair)

    def undo(self) -> LabelPair:
        """Take the last one back."""
        pair = self._pairs[-1]
        append_line(self.undone, _line(pair))  # first: killed here, the pair is still there
        cut_last_line(self.path)
        return self._pairs.pop()

    def _check(self, pair: LabelPair, where: object) -> None:
        check_pair(pair, self._shape, where)


def check_pair(pair: LabelPair, shape: Voxels, where: object = "pair") -> None:
    """Raise BadInput unless a pair is of two voxels of the volume."""
    for point in pair.ends:
        check_point(point, shape, where)
    if pair.first == pair.second:
        raise BadInput(where, "is of one voxel", got=list(pair.first), wanted="two different ones")


def pairs_beside(points: Path) -> Path:
    """Where the pairs of a session lie: `vol.raw.pairs.csv` beside `vol.raw.points.csv`."""
    return points.with_name(f"{points.name.removesuffix('.csv').removesuffix('.points')}.pairs.csv")


def read_pairs(path: Path) -> list[LabelPair]:
    """The pairs of a file, none if there is no file; a line that was torn by a loss of power is left out."""
    if not path.exists():
        return []
    try:
        first, *lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"cannot be read ({error})") from None
    if first != HEADER:
        raise BadInput(path, "has no usable header", got=first[:40], wanted=HEADER)
    found = []
    for number, line in enumerate(lines[:-1], start=2):
        try:
            z, y, x, to_z, to_y, to_x, same = map(int, line.split(","))
        except ValueError:
            raise BadInput(f"{path}, line {number}", "is no pair", got=line[:40], wanted=HEADER) from None
        found.append(LabelPair((z, y, x), (to_z, to_y, to_x), bool(same)))
    return found


def used(pairs: Sequence[LabelPair], dims: int) -> list[LabelPair]:
    """Those whose lines can be looked at: where sections stand alone, there is nothing between two of them."""
    return [pair for pair in pairs if dims == 3 or pair.first[0] == pair.second[0]]


def taught_by(
    pairs: Sequence[LabelPair], probabilities: Callable[[Sequence[Voxels]], NDArray[np.floating]]
) -> list[Point]:
    """What the lines of all pairs say, by a head that knows their ends."""
    return [point for pair in pairs for point in pair.taught(probabilities(pair.line))]


def _line(pair: LabelPair) -> str:
    return ",".join(map(str, (*pair.first, *pair.second, int(pair.is_same)))) + "\n"
