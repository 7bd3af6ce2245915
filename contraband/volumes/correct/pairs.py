"""The pairs of places that must or must not be one object, as people read and write them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blockwise.errors import BadInput, looked_for
from blockwise.files.whole import write_text
from blockwise.grid import Voxels, as_voxels
from blockwise.stages.correct import VoxelPair
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings, volume_shape

KINDS = ("join", "split")
COLUMNS = ("kind", "z1", "y1", "x1", "z2", "y2", "x2")
BY_NUMBER = ("kind", "a", "b")


@dataclass(frozen=True)
class Correction:
    """Two voxels that must be one object (join), or must not (split)."""

    kind: str
    pair: VoxelPair
    by_number: bool = False
    """The places are the first voxels of fragments that were named by their numbers."""


def read_corrections(path: Path, shape: Voxels) -> list[Correction]:
    """The rows of a CSV file, `kind,z1,y1,x1,z2,y2,x2` in voxels or `kind,a,b` by the numbers of fragments; none if
    there is no such file. Raises BadInput naming the line.
    """
    if not path.exists():
        return []
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(path, f"cannot be read ({error})") from None
    if not lines or tuple(name.strip() for name in lines[0]) not in (COLUMNS, BY_NUMBER):
        wanted = f"{','.join(COLUMNS)} or {','.join(BY_NUMBER)}"
        raise BadInput(path, "has other columns", got=",".join(lines[0]) if lines else "nothing", wanted=wanted)
    rows = [(f"{path}, line {number}", line) for number, line in enumerate(lines[1:], start=2) if any(line)]
    return [_correction(where, line, len(lines[0]), shape) for where, line in rows]


def _correction(where: str, line: Sequence[str], columns: int, shape: Voxels) -> Correction:
    kind = line[0].strip()
    if kind not in KINDS:
        raise BadInput(where, "is no kind of correction", got=kind, wanted=" or ".join(KINDS))
    if len(line) != columns:
        raise BadInput(where, "has another number of columns than the first line", got=len(line), wanted=columns)
    return parse_correction(kind, ",".join(line[1:]), shape, where)


def parse_correction(kind: str, text: str, shape: Voxels, where: str) -> Correction:
    """Of two numbers of fragments, `12,57`, or two places in voxels, `z,y,x,z,y,x`; raises BadInput naming `where`."""
    words = [word.strip() for word in text.split(",")]
    if len(words) not in (2, 6) or not all(word.isdecimal() for word in words):
        raise BadInput(where, "is no pair", got=text, wanted="two numbers, A,B, or two voxels, z,y,x,z,y,x")
    values = [int(word) for word in words]
    by_number = len(values) == 2
    pair = (_voxel(values[0], shape, where), _voxel(values[1], shape, where)) if by_number else _two(values)
    for place in pair:
        if any(at >= size for at, size in zip(place, shape, strict=True)):
            raise BadInput(where, "a place lies outside of the volume", got=list(place), wanted=f"below {list(shape)}")
    return Correction(kind, pair, by_number)


def _two(values: Sequence[int]) -> VoxelPair:
    return as_voxels(values[:3]), as_voxels(values[3:])


def _voxel(number: int, shape: Voxels, where: str) -> Voxels:
    """A voxel of the fragment of that number: its first one, by which it is called."""
    if not 0 < number <= int(np.prod(shape, dtype=np.int64)):
        raise BadInput(
            where, "is no number of a fragment or segment", got=number, wanted="1 or more, as they are written"
        )
    return as_voxels(int(at) for at in np.unravel_index(number - 1, shape))


def write_corrections(path: Path, corrections: Iterable[Correction]) -> None:
    """Replace the file in one step; without corrections there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = [(one.kind, *one.pair[0], *one.pair[1]) for one in corrections]
    writer.writerows(rows)
    if rows:
        write_text(path, text.getvalue())
    else:
        path.unlink(missing_ok=True)


def pairs_of(corrections: Iterable[Correction], kind: str) -> tuple[VoxelPair, ...]:
    """Those of one kind."""
    return tuple(one.pair for one in corrections if one.kind == kind)


def gathered(
    settings: VolumeSettings, given: Mapping[str, Sequence[str]], file: Path | None, undo: int
) -> list[Correction]:
    """Those that are kept but for the latest `undo`, then those of a file, then the given ones, each once.

    Raises BadInput for what is none.
    """
    shape = volume_shape(settings)
    kept = read_corrections(Output(settings.output).corrections, shape)
    if not 0 <= undo <= len(kept):
        raise BadInput("--undo", "there are not so many corrections", got=undo, wanted=f"0 to {len(kept)}")
    if file is not None and not file.exists():
        raise BadInput(file, "no such file", todo=f"check the path{looked_for(file)}")
    found = kept[: len(kept) - undo] + (read_corrections(file, shape) if file else [])
    named = [parse_correction(kind, text, shape, f"--{kind}") for kind in KINDS for text in given.get(kind, ())]
    for one in named:
        if one.pair[0] == one.pair[1]:
            raise BadInput(f"--{one.kind}", "names one place twice", got=list(one.pair[0]), wanted="two places")
    found += named
    return list({(one.kind, frozenset(one.pair)): one for one in found}.values())
