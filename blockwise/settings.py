"""Strict, frozen settings and the one way to read them from a YAML or JSON file."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from blockwise.errors import BadInput, one_line

MOST_VALUES = 100_000
"""In one file: a few aliases of aliases stand for more values than fit into any memory."""


class Settings(BaseModel):
    """Base of every settings class: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: object) -> Self:
        """Settings from plain data (lists become tuples); raises BadInput naming `where` and the key."""
        text = _as_json(data, where)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise explain(error, where) from None


def _as_json(data: object, where: object, key: str = "") -> str:
    """The data as JSON; raises BadInput naming the first key whose value JSON does not have."""
    try:
        return json.dumps(data, allow_nan=False)
    except RecursionError:
        raise BadInput(where, f"{key or 'the file'} is nested too deeply") from None
    except (TypeError, ValueError) as error:
        entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list | tuple) else ()
        for name, value in entries:
            _as_json(value, where, f"{key}.{name}".lstrip("."))
        place = f"{where}: {key}" if key else where
        raise BadInput(place, f"is no plain number or text ({error})", got=_short(data)) from None


def explain(error: ValidationError, where: object) -> BadInput:
    """The first fault of a failed validation as one line with the key, the value and what is wanted."""
    first = error.errors(include_url=False)[0]
    key = shortened(".".join(str(name) for name in first["loc"]))
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    place = f"{where}: {key}" if key else where
    if first["type"] == "extra_forbidden":
        return BadInput(place, f"unknown key{more}", todo="remove it or correct its spelling")
    if first["type"] == "missing":
        return BadInput(place, f"missing key{more}", todo="add it")
    message = first["msg"].removeprefix("Value error, ")
    return BadInput(place, f"{message}{more}", got=_short(first["input"]))


def read_yaml(path: Path, tabs_are_spaces: bool = False) -> dict[str, Any]:
    """The mapping in a YAML file; raises BadInput if it is missing, unreadable or not a mapping.

    tabs_are_spaces: for JSON, which may be indented with tabs.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(path, "no such file", todo="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"cannot be read ({error})") from None
    try:
        data = parse_yaml(text.replace("\t", " ") if tabs_are_spaces else text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(path, f"is not YAML that can be used ({shortened(one_line(str(error)), 300)})") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise BadInput(path, "is not a mapping of keys to values", got=type(data).__name__)
    return data


def parse_yaml(text: str) -> Any:
    """The data in a YAML text; raises YAMLError or ValueError, also for a key given twice and for aliases run wild."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _count(root, {})
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Values that a node stands for, with all aliases followed; raises ValueError as `parse_yaml`."""
    if id(node) in known:
        if not known[id(node)]:
            raise ValueError("an alias stands for something it is part of")
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the key {twice} is given twice{node.start_mark}")
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    total = 1 + sum(_count(child, known) for child in children)
    if total > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES} values, aliases followed")
    known[id(node)] = total
    return total


def override(data: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The data with `a.b=value` assignments applied; values are read as YAML."""
    result: dict[str, Any] = copy.deepcopy(dict(data))
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise BadInput("--set", "is not key=value", got=shortened(assignment), wanted="segment.thresholds=[0.4]")
        try:
            value = parse_yaml(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            fault = shortened(one_line(str(error)), 300)
            raise BadInput(f"--set {shortened(key)}", f"is not YAML ({fault})", got=_short(text)) from None
        *parents, last = key.strip().split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise BadInput(f"--set {shortened(key)}", f"{parent} is not a mapping", got=type(target).__name__)
        target[last] = value
    return result


def _short(value: object) -> str:
    return shortened(repr(value))


def shortened(text: str, limit: int = 80) -> str:
    """The text, its end left out if it is long."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-5 as text; this loader reads it as the number it is."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
