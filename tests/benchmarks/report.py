"""What a benchmark found, and how it is shown: a table on the screen, Markdown for a page, JSON."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


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


@dataclass(frozen=True)
class Section:
    """The figures of one section, and when and where they were measured."""

    name: str
    date: str
    machine: str
    rows: tuple[Row, ...]


HEAD = ("section", "what", "figure", "goal", "machine allows", "note")
LEFT = (0, 1, 5)
"""Columns of words; the others are numbers and stand to the right."""


def reached(row: Row) -> bool | None:
    """Whether the figure is what its goal wants; None if it has none. Raises ValueError for another goal."""
    if not row.goal:
        return None
    found = re.fullmatch(r"(<=|>=) ([0-9][0-9,]*(?:\.[0-9]+)?(?:e-?[0-9]+)?)", row.goal)
    if found is None:
        raise ValueError(f'goal of "{row.what}" must be like "<= 1,000" or ">= 0.9", got "{row.goal}"')
    wanted = float(found[2].replace(",", ""))
    return row.value <= wanted if found[1] == "<=" else row.value >= wanted


def number(value: float) -> str:
    """Three digits, or all before the point; below 1 two, and no zeros at the end."""
    if abs(value) < 1:
        return f"{value:.2g}"
    size = len(str(int(abs(value))))
    return f"{value:,.{max(0, 3 - size)}f}"


def cells(section: Section) -> list[tuple[str, ...]]:
    """A line of text cells for each row, as in `HEAD`."""
    return [
        (
            section.name,
            row.what,
            f"{number(row.value)} {row.unit}",
            row.goal + (" (missed)" if reached(row) is False else ""),
            "" if row.limit is None else number(row.limit),
            row.note,
        )
        for row in section.rows
    ]


def as_text(sections: Sequence[Section]) -> str:
    """One aligned table."""
    lines = [HEAD, *(line for section in sections for line in cells(section))]
    return "\n".join([*where(sections), *aligned(lines, LEFT)]) + "\n"


def aligned(lines: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Cells under each other. left: columns of words; the others stand to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def as_markdown(sections: Sequence[Section]) -> str:
    """The same for a page; a section is named in its first row only."""
    marks = [":--" if column in LEFT else "--:" for column in range(len(HEAD))]
    lines = [HEAD, tuple(marks)]
    for section in sections:
        for place, line in enumerate(cells(section)):
            lines.append(line if place == 0 else ("", *line[1:]))
    return "\n".join([*where(sections), "", *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def where(sections: Sequence[Section]) -> list[str]:
    """A line for each day and machine on which sections were measured."""
    groups: dict[str, list[str]] = {}
    for section in sections:
        groups.setdefault(f"{section.date[:10]}, {section.machine}", []).append(section.name)
    if len(groups) == 1:
        return [f"{line}." for line in groups]
    return [f"{', '.join(names)}: {line}." for line, names in groups.items()]


def to_json(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Plain data from which `from_json` makes the same again."""
    return [asdict(section) for section in sections]


def from_json(data: Sequence[Mapping[str, Any]]) -> list[Section]:
    """The inverse of `to_json`."""
    return [Section(one["name"], one["date"], one["machine"], tuple(Row(**row) for row in one["rows"])) for one in data]
