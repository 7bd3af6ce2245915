"""The points of a labelling session on disk: a CSV that grows by whole lines, held by one process at a time."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from blockwise.errors import BadInput
from blockwise.files.locks import only_one
from blockwise.files.whole import write_text
from blockwise.grid import Voxels
from contraband.models.classes import CLASSES
from contraband.samples.points import read_points

HEADER = "z,y,x,label"
HEADERS = (HEADER, "z,y,x,class")
"""Of files that are gone on with."""


class Point(NamedTuple):
    """A labelled voxel."""

    voxel: Voxels
    label: int
    """Its class, a place in CLASSES."""


class PointsRecord:
    """Labelled points, read when it is entered. `add` and `undo` return when the disk has them; a kill loses none.

    What is undone goes on living in a file beside it, `<name>.undone.csv`, which nothing reads.
    """

    def __init__(self, path: Path, shape: Voxels) -> None:
        """path: the CSV, made by the first point. shape: of the volume, in which all points must lie."""
        self.path = path
        self.undone = path.with_suffix(".undone.csv")
        self._shape = shape
        self._points: list[Point] = []
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Raises BadInput if another process labels into this file, or it holds anything but points of the volume."""
        if not self.path.parent.is_dir():
            raise BadInput(self.path, "its folder is not there", todo="make it, or choose another file by --points")
        lock = self.path.with_name(f".{self.path.name}.lock")
        self._held.enter_context(only_one(lock, self.path, "is being labelled by another process"))
        try:
            self._points = self._read()
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    @property
    def points(self) -> tuple[Point, ...]:
        """All points in the order of their clicks; of two at one voxel the later one is meant."""
        return tuple(self._points)

    def add(self, point: Point) -> None:
        """Append a point; raises BadInput, and writes nothing, if it is none of the volume."""
        check_point(point, self._shape)
        append_line(self.path, _line(point), HEADER + "\n")
        self._points.append(point)

    def undo(self) -> Point | None:
        """Take the last point back; None if there is none."""
        if not self._points:
            return None
        last = self._points[-1]
        append_line(self.undone, _line(last))  # first: killed here, the point is still there
        cut_last_line(self.path)
        return self._points.pop()

    def settle(self) -> None:
        """Leave out points that a later one at the same voxel has replaced, so that whoever reads the file agrees."""
        meant = list(latest(self._points))
        if len(meant) < len(self._points):
            write_text(self.path, "".join([HEADER + "\n", *map(_line, meant)]))
            self._points = meant

    def _read(self) -> list[Point]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadInput(self.path, f"cannot be read ({error.strerror})") from None
        first = content.partition(b"\n")[0].decode("utf-8-sig", "replace").strip()
        if first not in HEADERS:
            raise BadInput(self.path, "has no usable header", got=first[:40], wanted=HEADER)
        if not content.endswith(b"\n"):
            content = self._mended(content)
        if len(content.split()) < 2:
            return []
        found = read_points(self.path)
        found.check_inside(self._shape, self.path)
        points = [
            Point((int(z), int(y), int(x)), int(label))
            for (z, y, x), label in zip(found.positions, found.labels, strict=True)
        ]
        for point in points:
            check_point(point, self._shape, self.path)
        return points

    def _mended(self, content: bytes) -> bytes:
        """The content with its last line complete, on disk too: a power cut may have torn it."""
        whole, _, tail = content.rpartition(b"\n")
        is_row = len(next(csv.reader(io.StringIO(tail.decode("utf-8", "replace"))), [])) == 4 and tail[-1:].isdigit()
        mended = content + b"\n" if is_row or not whole else whole + b"\n"
        write_text(self.path, mended.decode())
        return mended


def check_point(point: Point, shape: Voxels, where: object = "point") -> None:
    """Raise BadInput unless the point lies inside of a volume, and is of a class that there is."""
    if not all(0 <= at < size for at, size in zip(point.voxel, shape, strict=True)):
        raise BadInput(where, "lies outside the volume", got=list(point.voxel), wanted=f"below {list(shape)}")
    if not 0 <= point.label < len(CLASSES):
        wanted = ", ".join(f"{number} {name}" for number, name in enumerate(CLASSES))
        raise BadInput(where, "is of no class", got=point.label, wanted=wanted)


def latest(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points without those that a later one at the same voxel has replaced."""
    return tuple({point.voxel: point for point in points}.values())


def _line(point: Point) -> str:
    return ",".join(map(str, (*point.voxel, point.label))) + "\n"


def append_line(path: Path, line: str, header: str = "") -> None:
    """Append a line; it is on the disk when this returns, or not there at all.

    header: what a new file begins with, which nobody ever sees without the line.
    """
    if not path.exists():
        write_text(path, header + line)
        return
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            file.write(line.encode())
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)  # no half line before the next one
            raise


def cut_last_line(path: Path) -> None:
    """Take the last line away; it is off the disk when this returns."""
    content = path.read_bytes()
    keep = content.rstrip(b"\n").rfind(b"\n") + 1
    with path.open("r+b") as file:
        file.truncate(keep)
        os.fsync(file.fileno())
