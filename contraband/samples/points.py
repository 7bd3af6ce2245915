"""Labelled points: drawing them from a label volume, and the CSV file they live in.

A CSV has a header line, columns `z,y,x,label` (or `y,x,label` for one section) in any order and perhaps others, whole
voxels from 0, label 0 = background. The labels of drawn points are those of the volume. `class` is another name for the
column `label`, where labels are the numbers of `contraband.models.classes`.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.arrays.values import unlabelled
from blockwise.errors import BadInput
from blockwise.files.whole import write_text
from contraband.models.classes import CLASSES, INSIDE

COLUMNS = ("z", "y", "x", "label")
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files of Excel and LibreOffice begin."""


@dataclass(frozen=True)
class Points:
    """Labelled voxels."""

    positions: NDArray[np.int64]
    """(N, 3): z, y, x of whole voxels."""

    labels: NDArray[np.int64]
    """(N,): 0 is background."""

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Points:
        """Some of them, by their rows."""
        return Points(self.positions[rows], self.labels[rows])

    def latest(self) -> Points:
        """Without those whose voxel has another label further down, as where one was corrected on a labelling page."""
        _, voxel = np.unique(self.positions, axis=0, return_inverse=True)
        last = np.zeros(len(self), np.int64)
        last[voxel] = self.labels  # of several for one voxel the last one stays
        return self.chosen(self.labels == last[voxel])

    def check_inside(self, shape: tuple[int, ...], where: object) -> None:
        """Raise BadInput at the first point outside a volume of extents (z, y, x)."""
        outside = np.flatnonzero(((self.positions < 0) | (self.positions >= np.array(shape))).any(axis=1))
        if len(outside):
            got = self.positions[outside[0]].tolist()
            raise BadInput(
                where, f"point {outside[0] + 1} lies outside the volume", got=got, wanted=f"below {list(shape)}"
            )

    def check_classes(self, where: object) -> None:
        """Raise BadInput at the first point whose label is no class."""
        strange = np.flatnonzero((self.labels < 0) | (self.labels >= len(CLASSES)))
        if len(strange):
            got = int(self.labels[strange[0]])
            raise BadInput(where, f"point {strange[0] + 1} is of no known class", got=got, wanted=classes_in_words())


def together(several: Sequence[Points]) -> Points:
    """The points of several files, one after the other."""
    return Points(np.concatenate([one.positions for one in several]), np.concatenate([one.labels for one in several]))


def classes_in_words() -> str:
    """The classes and their numbers, to be read."""
    return ", ".join(f"{number} {name}" for number, name in enumerate(CLASSES))


def check_present(labels: NDArray[np.int64], where: object) -> None:
    """Raise BadInput unless the labelled classes are enough to learn from: inside, and one that is not."""
    found = [int(number) for number in np.unique(labels[labels >= 0])]
    strange = [number for number in found if number >= len(CLASSES)]
    if strange:
        raise BadInput(where, "holds a number that is no class", got=strange[0], wanted=classes_in_words())
    if INSIDE not in found or len(found) < 2:
        got = ", ".join(CLASSES[number] for number in found) or "none"
        raise BadInput(where, "labels too few classes", got=got, wanted="inside, and background or boundary")


def as_labels(stored: NDArray[Any], masked: bool) -> NDArray[np.int64]:
    """Labels as int64: 0 is background, below 0 is not labelled, as -1 and the largest unsigned number of a type are.

    masked: the largest number is an object, as `is_mask` tells of the whole array.
    """
    labels: NDArray[np.int64] = stored.astype(np.int64)
    unknown = unlabelled(stored.dtype)
    if unknown is not None and unknown > 0 and not masked:
        labels[stored == unknown] = -1
    return labels


def is_mask(stored: NDArray[Any]) -> bool:
    """Whether an array of bytes holds nothing but 0 and 255: then 255 is an object, as in an image."""
    return bool(stored.dtype == np.uint8 and np.all((stored == 0) | (stored == 255)))


def generate_points(labels: NDArray[np.integer], count: int, seed: int = 0, where: object = "labels") -> Points:
    """`count` foreground and `count` background voxels of (z, y, x) or (y, x) labels, each voxel at most once.

    The same labels, count and seed give the same points, foreground first; BadInput if there are too few voxels.
    """
    volume = as_labels(labels if labels.ndim == 3 else labels[None], is_mask(labels))
    random = np.random.default_rng(np.random.SeedSequence([seed, 0x706F696E]))
    chosen = []
    for name, mask in (("foreground", volume > 0), ("background", volume == 0)):
        candidates = np.flatnonzero(mask)
        if len(candidates) < count:
            raise BadInput(where, f"has too few {name} voxels", got=len(candidates), wanted=count)
        chosen.append(np.sort(random.choice(candidates, count, replace=False)))
    flat = np.concatenate(chosen)
    positions = np.stack(np.unravel_index(flat, volume.shape), axis=1).astype(np.int64)
    return Points(positions, volume.ravel()[flat].astype(np.int64))


def generate_class_points(classes: NDArray[np.int64], count: int, seed: int = 0, where: object = "labels") -> Points:
    """`count` voxels of (z, y, x) classes, each class that is there equally often, each voxel at most once.

    Where `count` is no multiple, the first classes get one more. The same input gives the same points; BadInput if a
    class has too few voxels.
    """
    random = np.random.default_rng(np.random.SeedSequence([seed, 0x636C6173]))
    found = [int(number) for number in np.unique(classes) if number >= 0]
    chosen = []
    for place, number in enumerate(found):
        wanted = count // len(found) + (place < count % len(found))
        candidates = np.flatnonzero(classes == number)
        if len(candidates) < wanted:
            raise BadInput(where, f"has too few {CLASSES[number]} voxels", got=len(candidates), wanted=wanted)
        chosen.append(np.sort(random.choice(candidates, wanted, replace=False)))
    flat = np.concatenate(chosen)
    positions = np.stack(np.unravel_index(flat, classes.shape), axis=1).astype(np.int64)
    return Points(positions, classes.ravel()[flat])


def each_as_often(volume: NDArray[np.int64], count: int, seed: int) -> Points:
    """About `count` labelled voxels of (z, y, x) labels, each label as often where it has so many; below 0 is none."""
    numbers, places = np.unique(volume[volume >= 0], return_counts=True)
    most = max(1, count // len(numbers))
    random = np.random.default_rng(np.random.SeedSequence([seed, 0x61626F75]))
    chosen = []
    for number, there in zip(numbers[:count], places, strict=False):
        candidates = np.flatnonzero(volume == number)
        chosen.append(np.sort(random.choice(candidates, min(most, int(there)), replace=False)))
    flat = np.concatenate(chosen)
    positions = np.stack(np.unravel_index(flat, volume.shape), axis=1).astype(np.int64)
    return Points(positions, volume.ravel()[flat])


def write_points(points: Points, path: Path) -> None:
    """Write `z,y,x,label` rows, all or none."""
    write_text(path, as_csv(points))


def as_csv(points: Points) -> str:
    """The text of a file of `z,y,x,label` rows."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    rows.writerows(np.column_stack([points.positions, points.labels]).tolist())
    return text.getvalue()


def read_points(path: Path) -> Points:
    """The points of a CSV, with commas, semicolons or tabs between its columns; further columns are not read.

    BadInput names the line of the first fault.
    """
    try:
        text = _text(path)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text)))
    except FileNotFoundError:
        raise BadInput(path, "no such file", todo="run `contraband points` or correct the path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(path, f"cannot be read ({error})") from None
    header = [name.strip().lower() for name in rows[0]] if rows else []
    header = ["label" if name == "class" else name for name in header]
    counts = {name: header.count(name) for name in COLUMNS}
    if counts.pop("z") > 1 or set(counts.values()) != {1}:
        raise BadInput(path, "has no usable header", got=",".join(header), wanted="z,y,x,label or y,x,label (or class)")
    table = [_row(row, header, f"{path}, line {line}") for line, row in enumerate(rows[1:], start=2) if any(row)]
    if not table:
        raise BadInput(path, "holds no points")
    values = np.array(table, dtype=np.int64)
    return Points(values[:, :3], values[:, 3])


def _text(path: Path) -> str:
    """The file as text, in the encodings that spreadsheets save; BadInput for the file of a spreadsheet itself."""
    data = path.read_bytes()
    if data.startswith(SPREADSHEETS):
        raise BadInput(path, "is the file of a spreadsheet (or a zip), not a CSV", todo="save it as CSV there")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _separator(text: str) -> str:
    """What stands between the columns, by the first line."""
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)


def _row(row: list[str], header: list[str], where: str) -> list[int]:
    """z, y, x, label of one line."""
    if len(row) != len(header):
        raise BadInput(where, "has a wrong number of columns", got=len(row), wanted=len(header))
    values = {"z": 0}
    for name, text in zip(header, row, strict=True):
        if name not in COLUMNS:
            continue
        try:
            number = float(text)
            values[name] = int(number)
        except (ValueError, OverflowError):
            raise BadInput(where, f"{name} is not a number", got=repr(text)) from None
        if values[name] != number or values[name] < 0:
            raise BadInput(where, f"{name} is not a whole number of 0 or more", got=text)
    return [values[name] for name in COLUMNS]
