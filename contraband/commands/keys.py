"""Every key of a settings class, read from the class itself: what it may be, its default and its meaning."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ByteSize
from pydantic.fields import FieldInfo

from blockwise.settings import Settings

_UNITS = {"_s": "seconds", "_seconds": "seconds", "_vx": "voxels", "_nm": "nanometres", "_bytes": "bytes"}
"""Ends of names that say a unit; where a name has none, the meaning says it."""

_WORDS: dict[Any, tuple[str, str]] = {
    str: ("text", "texts"),
    int: ("whole number", "whole numbers"),
    float: ("number", "numbers"),
    Path: ("path", "paths"),
    ByteSize: ("amount of memory", "amounts of memory"),
    object: ("value", "values"),
}
"""One and several; a class that is not here is called as the nearest of its bases that is."""


@dataclass(frozen=True)
class Key:
    """One key of a section."""

    name: str
    kind: str
    """What its value may be, in words."""
    needed: bool
    default: Any
    """As plain data; a section is an instance of its class, or None where there is none unless it is given."""
    meaning: str
    section: type[Settings] | None
    """Its class, if the value is a section of further keys."""
    is_list: bool
    """Whether it is a list of such sections."""


@dataclass(frozen=True)
class Section:
    """The keys that one class declares, and every place in the file where they may stand."""

    places: tuple[str, ...]
    """Such as `fragments.foreground`; empty for the file itself."""
    meaning: str
    keys: tuple[Key, ...]


def sections(kind: type[Settings]) -> list[Section]:
    """All keys of a file, by section; what several sections have in common comes once, with the places of all."""
    places: dict[type[Settings], list[str]] = {}
    _visit(kind, "", places)
    merged: dict[tuple[str, ...], Section] = {}
    for declaring, where in places.items():
        before = merged.get(tuple(where))
        own = tuple(key for key in keys(declaring) if key.name in _own_names(declaring))
        if before is None:
            merged[tuple(where)] = Section(tuple(where), summary(declaring), own)
        else:  # a base class that nothing else is made from
            merged[tuple(where)] = Section(before.places, before.meaning, before.keys + own)
    return list(merged.values())


def keys(kind: type[Settings]) -> list[Key]:
    """The keys of one section, inherited ones included, in the order of the class."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        texts |= _texts(base) if _is_section(base) else {}
    return [_key(field.alias or name, field, texts.get(name, "")) for name, field in kind.model_fields.items()]


def _visit(kind: type[Settings], place: str, places: dict[type[Settings], list[str]]) -> None:
    """Note where the keys that each class declares may stand, the file from top to bottom."""
    for base in kind.__mro__:
        if _is_section(base) and _own_names(base):
            places.setdefault(base, []).append(place)
    for key in keys(kind):
        if key.section is not None:
            _visit(key.section, f"{place}.{key.name}".lstrip("."), places)


def _key(name: str, field: FieldInfo, text: str) -> Key:
    section, is_list = _section_of(field.annotation)
    alternatives = _alternatives(field.annotation, field.metadata)
    unit = next((f", in {unit}" for end, unit in _UNITS.items() if name.endswith(end)), "")
    default = None if field.is_required() else _plain(field.get_default(call_default_factory=True))
    meaning = field.description or text or (summary(section) if section else "")
    return Key(name, _either(alternatives) + unit, field.is_required(), default, meaning, section, is_list)


def _plain(value: Any) -> Any:
    """A default as JSON has it; sections stay what they are."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _section_of(annotation: Any) -> tuple[type[Settings] | None, bool]:
    """The class of a section, and whether the value is a list of such."""
    if _is_section(annotation):
        return annotation, False
    for choice in get_args(annotation):
        found, _ = _section_of(choice)
        if found is not None:
            return found, get_origin(annotation) is tuple
    return None, False


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings


def _alternatives(annotation: Any, metadata: Sequence[Any] = (), many: bool = False) -> list[str]:
    """What a value may be, each in some words; `many`: for several such values."""
    origin, choices = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _alternatives(choices[0], [*choices[1:], *metadata], many)
    if origin in (Union, types.UnionType):
        return [one for choice in choices for one in _alternatives(choice, metadata, many)]
    if origin is Literal:
        return [f"`{value}`" for value in choices]
    if annotation is type(None):
        return ["null"]
    if annotation is bool:
        return ["true", "false"]
    if origin is tuple:
        return [_list(choices, metadata, many)]
    if _is_section(annotation):
        return ["sections" if many else "section"]
    one, several = next(_WORDS[base] for base in annotation.__mro__ if base in _WORDS)
    return [f"{several if many else one}{_limits(metadata)}"]


def _list(choices: tuple[Any, ...], metadata: Sequence[Any], many: bool) -> str:
    """A list in words: how long it is, and of what."""
    is_open = len(choices) == 2 and choices[1] is Ellipsis
    bounds = _bounds(metadata)
    count = "" if is_open else f"{len(choices)} "
    if is_open and "max_length" in bounds:
        count = f"{bounds.get('min_length', 0)} to {bounds['max_length']} "
    elif is_open and "min_length" in bounds:
        count = f"{bounds['min_length']} or more "
    return f"{'lists' if many else 'list'} of {count}{_either(_alternatives(choices[0], many=True))}"


def _limits(metadata: Sequence[Any]) -> str:
    """The range in words, with a space before it; empty if there is none."""
    bounds = _bounds(metadata)
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']:g} to {bounds['le']:g}"
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
    texts = [f"{sign} {bounds[name]:g}" for name, sign in signs if name in bounds]
    return f" {' and '.join(texts)}" if texts else ""


def _bounds(metadata: Sequence[Any]) -> dict[str, Any]:
    """The limits of a value, by the names that pydantic's `Field` has for them."""
    found: dict[str, Any] = {}
    for limit in metadata:
        if isinstance(limit, FieldInfo):
            found |= _bounds(limit.metadata)
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length"):
            if getattr(limit, name, None) is not None:
                found[name] = getattr(limit, name)
    return found


def _either(alternatives: Sequence[str]) -> str:
    """`a, b or c`; what is said twice is said once."""
    texts = list(dict.fromkeys(alternatives))
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _own_names(kind: type[Settings]) -> set[str]:
    """Names of the keys that the class itself declares."""
    declared = inspect.get_annotations(kind)
    return {field.alias or name for name, field in kind.model_fields.items() if name in declared}


@cache
def _texts(kind: type[Settings]) -> dict[str, str]:
    """The text that stands under each field which the class itself declares."""
    (statement,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(statement, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(statement.body, statement.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            found[field.target.id] = _in_one_line(text.value.value)
    return found


def summary(kind: type[Settings]) -> str:
    """What a class says of itself, up to its example, in one line."""
    return _in_one_line(inspect.cleandoc(kind.__doc__ or "").partition("\n\nExample:")[0])


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
