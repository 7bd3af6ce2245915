"""The order of images in a folder, by the numbers in their names, and what makes it doubtful."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

MOST_SERIES = 4
"""Kinds of names that may be several series in one folder, as images and their masks; more are just names."""
MINUSES = ("-", "\N{MINUS SIGN}")
SIGNS = (*MINUSES, "+")
BEFORE_A_SIGN = "_=(,[{;"
"""After one of these a dash is no separator, as there is one already; nor is it at the beginning of a name."""


@dataclass(frozen=True)
class NumberedFile:
    """A file, and its name, without the ending, cut at the numbers in it."""

    path: Path
    texts: tuple[str, ...]
    """What stands before each number, without its sign, and after the last one."""
    numbers: tuple[int, ...]
    has_minus: bool = False
    """Whether a number has a minus sign."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """With numbers that have no signs."""
        pieces = re.split(r"(\d+)", path.stem)
        return cls(path, tuple(pieces[::2]), tuple(map(int, pieces[1::2])))

    def order(self) -> tuple[object, ...]:
        """Sorts slice2 before slice10, and what is the same but for zeros by its letters."""
        pieces = [one for pair in zip(self.texts, (*self.numbers, 0), strict=True) for one in pair]
        return (pieces, self.path.name)

    @property
    def kind(self) -> str:
        """The name without its numbers."""
        return "#".join(self.texts)


def in_order(files: Sequence[Path]) -> list[NumberedFile]:
    """The files by the numbers in their names.

    A dash is a separator between letters or digits and a number, as in slice-1 and 2020-01-31, unless other files are
    called the same without it: z0 and z1 tell that z-1 lies before them.
    """
    found = [NumberedFile.of(file) for file in files]
    known = {one.texts for one in found}
    return sorted((_signed(one, known) for one in found), key=NumberedFile.order)


def _signed(file: NumberedFile, known: set[tuple[str, ...]]) -> NumberedFile:
    """The file with the signs of its numbers. known: the texts of all files."""
    texts, numbers, has_minus = list(file.texts), list(file.numbers), file.has_minus
    for place, text in enumerate(file.texts[:-1]):
        before = text[:-1]
        if not text.endswith(SIGNS) or (place and not before):
            continue  # nothing, or a dash between two numbers
        others = {(*file.texts[:place], f"{before}{sign}", *file.texts[place + 1 :]) for sign in ("", *SIGNS)}
        if not before or before[-1] in BEFORE_A_SIGN or (others & known) - {file.texts}:
            texts[place] = before
            is_minus = text.endswith(MINUSES)
            numbers[place] *= -1 if is_minus else 1
            has_minus = has_minus or is_minus
    return NumberedFile(file.path, tuple(texts), tuple(numbers), has_minus)


def doubts(files: Sequence[NumberedFile]) -> tuple[str, ...]:
    """Remarks if the names of files make it doubtful that each is one section, in this order."""
    signs: tuple[str, ...] = ()
    if any(file.has_minus for file in files):
        first, last = files[0].path.name, files[-1].path.name
        signs = (f"a minus before a number is its sign here: {first} comes first, {last} last",)
    return (*signs, *_of_numbers(files))


def _of_numbers(files: Sequence[NumberedFile]) -> tuple[str, ...]:
    names = Counter(file.kind for file in files)
    if 1 < len(names) <= MOST_SERIES and min(names.values()) > 1:
        kinds = [next(file.path.name for file in files if file.kind == name) for name in names]
        return (f"names are of {len(names)} kinds, as {' and '.join(kinds)}: all {len(files)} files are sections",)
    if len(names) != 1 or not files[0].numbers:
        return ()
    columns = [column for column in zip(*(file.numbers for file in files), strict=True) if len(set(column)) > 1]
    if len(columns) > 1:
        first = files[0].path.name
        return (f"names count by {len(columns)} numbers: sections are in their order, from {first} on",)
    twice = [numbers for numbers, count in Counter(file.numbers for file in files).items() if count > 1]
    if twice:
        return (f"a number comes twice in the names, {twice[0][-1]} first: each file is a section",)
    return _gaps(files, columns[0]) if columns else ()


def _gaps(files: Sequence[NumberedFile], numbers: Sequence[int]) -> tuple[str, ...]:
    """A remark if the numbers of sections leave some out."""
    steps = [after - before for before, after in pairwise(numbers)]
    usual = min(steps)
    wide = [number for number, step in enumerate(steps) if step > usual]
    if usual < 1 or not wide:
        return ()
    first = f"{files[wide[0]].path.name} and {files[wide[0] + 1].path.name}"
    return (f"sections are missing by their numbers, the first between {first}: they are put side by side",)
