"""Strict, frozen settings and the one way to read them from a YAML or JSON file."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from blockwise.errors import BadInput, looked_for, one_line

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_NUMBERS = {
    "tag:yaml.org,2002:int": r"^[-+]?(0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)$",
    "tag:yaml.org,2002:float": r"^[-+]?((\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?|\d+[eE][-+]?\d+)$"
    r"|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$",
}
"""What is a number in a settings file."""

MOST_VALUES = 100_000
"""In one file: a few aliases of aliases stand for more values than fit into any memory."""


class Settings(BaseModel):
    """Base of every settings class: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: object) -> Self:
        """Settings from plain data (lists become tuples); raises BadInput naming `where` and the key."""
        try:
            return cls.model_validate_json(_as_json(data, where))
        except ValidationError as error:
            first = error
        meant = as_meant(data, first)
        if meant is not None:
            try:
                return cls.model_validate_json(_as_json(meant, where))
            except ValidationError as error:
                if not _same_places(error, first):
                    raise explain(error, where, cls) from None
        raise explain(first, where, cls) from None


def _as_json(data: object, where: object, key: str = "") -> str:
    """The data as JSON; raises BadInput naming the first key whose value JSON does not have."""
    try:
        return json.dumps(data, allow_nan=False)
    except RecursionError:
        raise BadInput(where, f"{key or 'the file'} is nested too deeply") from None
    except (TypeError, ValueError) as error:
        if isinstance(data, float | date):
            todo = "" if isinstance(data, float) else "put it in quotes"
            kind = "a number that is not finite" if isinstance(data, float) else "a date"
            raise BadInput(f"{where}: {key}" if key else where, f"is {kind}", got=data, todo=todo) from None
        entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list | tuple) else ()
        for name, value in entries:
            _as_json(value, where, f"{key}.{name}".lstrip("."))
        place = f"{where}: {key}" if key else where
        raise BadInput(place, f"is not a plain number or text ({error})", got=_short(data)) from None


def as_meant(data: Mapping[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """The data with a list of one for a single number or text, and no keys for a section that is empty.

    None if there is neither. YAML gives null for a section of which all keys are commented out.
    """
    result: dict[str, Any] = copy.deepcopy(dict(data))
    changed = False
    for fault in error.errors(include_url=False):
        is_one = fault["type"] == "tuple_type" and isinstance(fault["input"], int | float | str)
        is_bare = fault["type"] == "model_type" and fault["input"] is None
        if not is_one and not is_bare:
            continue
        *parents, last = fault["loc"]
        target: Any = result
        for parent in parents:
            target = target[parent]
        target[last] = [fault["input"]] if is_one else {}
        changed = True
    return result if changed else None


def _same_places(error: ValidationError, first: ValidationError) -> bool:
    """Whether a fault lies inside one of the first ones: a list of one is wrong there as well."""
    places = [fault["loc"] for fault in first.errors() if fault["type"] == "tuple_type"]
    return any(fault["loc"][: len(place)] == place for fault in error.errors() for place in places)


def likely(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown name: the known one that it is nearest to, if any is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def _todo_of_unknown(kind: type[BaseModel] | None, loc: Sequence[int | str]) -> str:
    """For an unknown key: the key of its section that it is like, or the section where there is such a key, if any."""
    here = kind
    for name in loc[:-1]:
        here = _section_of(here, name) if isinstance(name, str) else here
    if here is None or kind is None:
        return ""
    known = [field.alias or name for name, field in here.model_fields.items()]
    hint = likely(str(loc[-1]), known)
    homes = [name for name in kind.model_fields if str(loc[-1]) in _fields_of(_section_of(kind, name))]
    return hint or (f"it belongs under {homes[0]}" if homes else "")


def _fields_of(kind: type[BaseModel] | None) -> Iterable[str]:
    return kind.model_fields if kind is not None else ()


def _section_of(kind: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    """The settings class of a field, also where it is optional or in a tuple."""
    fields = kind.model_fields if kind is not None else {}
    field = next((one for key, one in fields.items() if name in (key, one.alias)), None)
    waiting = [field.annotation] if field is not None else []
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
        waiting += get_args(one)
    return None


def explain(error: ValidationError, where: object, kind: type[BaseModel] | None = None) -> BadInput:
    """The first fault of a failed validation as one line with the key, the value and what is wanted.

    kind: the settings that were read, for the keys there are. An unknown key goes first, as a slip in its name is
    often why another one is missing.
    """
    faults = error.errors(include_url=False)
    first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    key = shortened(".".join(str(name) for name in first["loc"]))
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    place = f"{where}: {key}" if key else where
    if first["type"] == "extra_forbidden":
        of_another = len(faults) > 2 and all(_is_of_another_file(fault) for fault in faults)
        fallback = "is it a file for another command?" if of_another else "remove it or correct its spelling"
        todo = _todo_of_unknown(kind, first["loc"]) or fallback
        return BadInput(place, f"unknown key{more}", todo=todo)
    if first["type"] == "missing":
        return BadInput(place, f"missing key{more}", todo="add it")
    message = _PLAINLY.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be")
    return BadInput(place, f"{message}{more}", got=_short(first["input"]), todo=_todo_of_kind(first))


def _is_of_another_file(fault: ErrorDetails) -> bool:
    """Whether a fault is one of those of a file for something else: its keys are unknown, and ours are missing."""
    return fault["type"] in ("extra_forbidden", "missing") and len(fault["loc"]) == 1


_PLAINLY = {
    "tuple_type": "must be a list",
    "model_type": "must be a section of keys",
    "string_type": "must be a text",
}
"""What pydantic calls by words of JSON."""


def _todo_of_kind(fault: ErrorDetails) -> str:
    """How a value of another type than wanted is written, where that is likely to be what is meant."""
    value = fault["input"]
    if fault["type"] == "string_type" and isinstance(value, int | float):
        return "put it in quotes"
    if fault["type"] in ("float_type", "int_type") and isinstance(value, str) and re.fullmatch(r"[\d.eE+-]+", value):
        return "leave out the quotes"
    if fault["type"] in ("tuple_type", "float_type", "int_type") and isinstance(value, str):
        numbers = re.split(r"[,;\s]+", value.strip())
        return f"write [{shortened(', '.join(numbers))}]" if len(numbers) > 1 else ""
    return ""


def read_yaml(path: Path, tabs_are_spaces: bool = False) -> dict[str, Any]:
    """The mapping in a YAML file; raises BadInput if it is missing, unreadable or not a mapping.

    tabs_are_spaces: for JSON, which may be indented with tabs.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(path, "no such file", todo=f"check the path{looked_for(path)}") from None
    except UnicodeDecodeError as error:
        raise BadInput(path, f"cannot be read ({error})", todo="save it as text in UTF-8") from None
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})") from None
    try:
        data = parse_yaml(text.replace("\t", " ") if tabs_are_spaces else text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        fault = one_line(str(error)).replace('"<unicode string>", ', "")
        todo = "indent by spaces, not by tabs" if "'\\t'" in fault else ""
        raise BadInput(path, f"is not usable YAML ({shortened(fault, 300)})", todo=todo) from None
    if not isinstance(data, dict):
        got = "a list" if isinstance(data, list) else "nothing" if data is None else "one value"
        raise BadInput(path, "is not a mapping of keys to values", got=got, wanted="lines such as `output: out.zarr`")
    other = next((key for key in data if not isinstance(key, str)), "")
    if not isinstance(other, str):
        raise BadInput(path, f"the key {_short(other)} is not a text", todo="remove it, or put it in quotes")
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
        names: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                raise ValueError(f"the key {key.value} is given twice{key.start_mark}")
            names.add(key.value)
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
    text = repr(value)
    # An address may hold a password, or a signature.
    return shortened(re.sub(r"(?<=://)[^/\s]*@|(?<=[?#])[^\s']+", "***", text) if "://" in text else text)


def shortened(text: str, limit: int = 80) -> str:
    """The text, its end left out if it is long."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


class _Loader(yaml.SafeLoader):
    """Numbers as in YAML 1.2: 1e-5 is one, while 12:00:00 (43200 in YAML 1.1) and 0123 (83) are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the class above has it
        first: [(tag, regexp) for tag, regexp in resolvers if tag not in _NUMBERS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


for _tag, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list("-+.0123456789"))
