"""The command that lists every key of a settings file: as a file to begin with, or as tables for a page."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blockwise.errors import BadInput

if TYPE_CHECKING:
    from blockwise.settings import Settings
    from contraband.commands.keys import Key, Section

WIDTH = 110
FILES = ("volume", "experiment", "study")
GRIDS = ("contrastive", "seg")
"""Sections of a param_dict.json in which each key has a list of options."""


def settings(
    which: Annotated[str, typer.Argument(help=f"One of {', '.join(FILES)}.", metavar="FILE")],
    as_tables: Annotated[bool, typer.Option("--markdown", help="As Markdown tables, for a page.")] = False,
) -> None:
    """Print every key of a volume's settings, of a study's, or of an experiment's param_dict.json, with what it means.

    What is printed is a file to begin with: it holds every key at its default, and says which must be given.

    Example: contraband settings volume > vol.yaml
    """
    if which not in FILES:
        raise BadInput("settings", "no such file", got=which, wanted=" or ".join(FILES))
    typer.echo(markdown(_kind(which)) if as_tables else "\n".join(commented(which)))


def _kind(which: str) -> type[Settings]:
    """The class of a whole file."""
    if which == "volume":
        from contraband.volumes.settings import VolumeSettings

        return VolumeSettings
    if which == "study":
        from contraband.experiments.study.settings import StudySettings

        return StudySettings
    from contraband.experiments.params import Params

    return Params


def markdown(kind: type[Settings]) -> str:
    """A heading and a table for each section of a file."""
    from contraband.commands.keys import sections

    return "\n\n".join("\n".join(_table(section)) for section in sections(kind))


def _table(section: Section) -> Iterator[str]:
    titles = ", ".join(f"`{place}`" for place in section.places)
    yield f"### {titles}" if any(section.places) else "### The file itself"
    yield f"\n{section.meaning}\n"
    yield "| key | value | default | meaning |"
    yield "| :-- | :-- | :-- | :-- |"
    for key in section.keys:
        cells = (f"`{key.name}`", key.kind, _shown_default(key), key.meaning)
        yield f"| {' | '.join(_cell(text) for text in cells)} |"


def _cell(text: str) -> str:
    """Text as it may stand in a table: `<q>` outside of code would be taken for HTML and not be shown."""
    pieces = text.replace("|", "\\|").split("`")
    return "`".join(piece if place % 2 else re.sub(r"<(?=\w)", "&lt;", piece) for place, piece in enumerate(pieces))


def _shown_default(key: Key) -> str:
    if key.needed:
        return "must be given"
    return "its defaults" if _is_open(key) else f"`{_text(key.default)}`"


def _is_open(key: Key) -> bool:
    """Whether a section is there if it is not given, each of its keys at its default."""
    is_plain = key.default is None or isinstance(key.default, bool | int)  # a number may stand for a section
    return key.section is not None and not is_plain and not key.is_list


def _text(value: Any) -> str:
    """A default as YAML has it: texts without quotes where they need none."""
    is_word = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w./-]*", value)
    return str(value) if is_word else json.dumps(value)


def commented(which: str) -> Iterator[str]:
    """The lines of a file that holds every key at its default; what must be given is there as a comment."""
    from contraband.commands.keys import summary

    kind = _kind(which)
    yield from textwrap.wrap(summary(kind), WIDTH, initial_indent="# ", subsequent_indent="# ")
    if which != "experiment":
        yield from _keys(kind, _Style(is_json=False), "")
    else:
        yield from ("{", *_keys(kind, _Style(is_json=True), "  "), "}")


def explained(kind: type[Settings], data: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """The lines of a YAML file that holds these keys, in the order of the class, each below its meaning."""
    from contraband.commands.keys import keys

    for key in keys(kind):
        if key.name not in data:
            continue
        value = data[key.name]
        is_section = key.section is not None and isinstance(value, Mapping)
        begin = f"{indent}# "
        told = key.meaning if is_section else f"{key.meaning} [{key.kind}]"
        yield from textwrap.wrap(told.replace("`", ""), WIDTH, initial_indent=begin, subsequent_indent=begin)
        if is_section:
            yield f"{indent}{key.name}:"
            yield from explained(key.section, value, f"{indent}  ")  # type: ignore[arg-type]
        else:
            yield f"{indent}{key.name}: {_text(value)}"


@dataclass(frozen=True)
class _Style:
    """How a key is written."""

    is_json: bool
    in_grid: bool = False
    """Whether each value is a list of options."""

    def line(self, key: Key, indent: str) -> str:
        """A key with its default; one that must be given is a comment."""
        if not self.is_json:
            return f"{indent}# {key.name}:" if key.needed else f"{indent}{key.name}: {_text(key.default)}"
        value = [key.default] if self.in_grid else key.default
        return f'{indent}# "{key.name}":' if key.needed else f'{indent}"{key.name}": {json.dumps(value)},'

    def around(self, key: Key, indent: str) -> tuple[str, tuple[str, ...]]:
        """The lines before and after the keys of a section."""
        if not self.is_json:
            return f"{indent}{key.name}:", ()
        is_list = self.in_grid or (key.is_list and key.name not in GRIDS)
        begin, end = ("[{", "}],") if is_list else ("{", "},")
        return f'{indent}"{key.name}": {begin}', (f"{indent}{end}",)


def _keys(kind: type[Settings], style: _Style, indent: str) -> Iterator[str]:
    """The keys of a section, each below its meaning."""
    from contraband.commands.keys import keys

    for key in keys(kind):
        is_there = key.section is not None and (key.needed or _is_open(key) or key.name in GRIDS)
        needed = "; must be given" if key.needed else ""
        told = key.meaning if is_there else f"{key.meaning} [{key.kind}{needed}]"
        begin = f"{indent}# "
        yield from textwrap.wrap(told.replace("`", ""), WIDTH, initial_indent=begin, subsequent_indent=begin)
        if key.section is None:
            yield style.line(key, indent)
        elif is_there:
            yield from _section(key, style, indent)
        else:  # there only if it is given: shown, but as a comment
            yield style.line(key, indent)
            yield from (f"{indent}# {line.removeprefix(indent)}" for line in _section(key, style, indent))


def _section(key: Key, style: _Style, indent: str) -> Iterator[str]:
    """A section with all its keys."""
    assert key.section is not None
    first, last = style.around(key, indent)
    inner = replace(style, in_grid=key.name in GRIDS)
    yield first
    yield from _keys(key.section, inner, f"{indent}  ")
    yield from last
