"""Strict, frozen settings and the one way to read them from a YAML or JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from blockwise.errors import BadInput


class Settings(BaseModel):
    """Base of every settings class: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: object) -> Self:
        """Settings from plain data (lists become tuples); raises BadInput naming `where` and the key."""
        try:
            text = json.dumps(data, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BadInput(where, f"not plain numbers and text ({error})") from None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise explain(error, where) from None


def explain(error: ValidationError, where: object) -> BadInput:
    """The first fault of a failed validation as one line with the key, the value and what is wanted."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    place = f"{where}: {key}" if key else where
    if first["type"] == "extra_forbidden":
        return BadInput(place, f"unknown key{more}", todo="remove it or correct its spelling")
    if first["type"] == "missing":
        return BadInput(place, f"missing key{more}", todo="add it")
    message = first["msg"].removeprefix("Value error, ")
    return BadInput(place, f"{message}{more}", got=_short(first["input"]))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; raises BadInput if it is missing, unreadable or not a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(path, "no such file", todo="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"cannot be read ({error})") from None
    try:
        data = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(path, f"is not YAML ({error})") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise BadInput(path, "is not a mapping of keys to values", got=type(data).__name__)
    return data


def override(data: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The data with `a.b=value` assignments applied; values are read as YAML."""
    result: dict[str, Any] = json.loads(json.dumps(data))
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise BadInput("--set", "is not key=value", got=assignment, wanted="segment.thresholds=[0.4]")
        try:
            value = yaml.load(text, Loader=_Loader)
        except (yaml.YAMLError, ValueError) as error:
            raise BadInput(f"--set {key}", f"is not YAML ({error})", got=text) from None
        *parents, last = key.strip().split(".")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise BadInput(f"--set {key}", f"{parent} is not a mapping", got=type(target).__name__)
        target[last] = value
    return result


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-5 as text; this loader reads it as the number it is."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
