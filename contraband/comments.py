"""Read JSON with `#` comments, trailing commas and small sums such as `"pi / 2"`; nothing is ever evaluated."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockwise.errors import BadInput

_STRING = r'"(?:\\.|[^"\\\n])*"'
_COMMENT = re.compile(rf"({_STRING})|#[^\n]*")
_TRAILING_COMMA = re.compile(rf"({_STRING})|,(?=\s*[}}\]])")
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)|(pi\b)|([-+*/()]))")


def read_commented_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file with comments; BadInput names the line of the first fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(path, "no such file", todo="check --dataset and --exp") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, f"cannot be read ({error})") from None
    return parse_commented_json(text, path)


def parse_commented_json(text: str, where: object) -> dict[str, Any]:
    """The object in the text; line numbers in messages are those of the text with its comments."""
    bare = _TRAILING_COMMA.sub(lambda match: match.group(1) or "", strip_comments(text))
    try:
        data = json.loads(bare, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}, line {error.lineno}", f"is not JSON ({error.msg})") from None
    except ValueError as error:
        raise BadInput(where, str(error)) from None
    if not isinstance(data, dict):
        raise BadInput(where, "is not an object", got=type(data).__name__, wanted="{...}")
    return data


def strip_comments(text: str) -> str:
    """The text without what follows a `#` outside strings; line breaks stay."""
    return _COMMENT.sub(lambda match: match.group(1) or "", text)


def parse_number(value: object) -> object:
    """The number a text such as `"pi / 2"` stands for; anything that is not text stays as it is.

    Knows numbers, pi, + - * / and brackets; raises ValueError otherwise.
    """
    return _Arithmetic(value).result() if isinstance(value, str) else value


class _Arithmetic:
    """Recursive descent: sum = product {+- product}; product = atom {*/ atom}; atom = [-] number, pi or (sum)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            match = _TOKEN.match(stripped, position)
            if match is None:
                raise ValueError(f"{text!r} is not a number or a sum like 'pi / 2'")
            self.tokens.append(match.group().strip())
            position = match.end()
        self.position = 0

    def result(self) -> float:
        value = self._sum(0)
        if self.position != len(self.tokens) or not math.isfinite(value):
            raise ValueError(f"{self.text!r} is not a number or a sum like 'pi / 2'")
        return value

    def _sum(self, depth: int) -> float:
        return self._chain(depth, lambda: self._product(depth), "+-")

    def _product(self, depth: int) -> float:
        return self._chain(depth, lambda: self._atom(depth), "*/")

    def _chain(self, depth: int, operand: Callable[[], float], operators: str) -> float:
        value = operand()
        while self.position < len(self.tokens) and self.tokens[self.position] in operators:
            operator = self._next()
            other = operand()
            if operator == "/" and other == 0:
                raise ValueError(f"{self.text!r} divides by zero")
            value = {"+": value + other, "-": value - other, "*": value * other}.get(
                operator, value / other if other else 0.0
            )
        return value

    def _atom(self, depth: int) -> float:
        token = self._next()
        if depth > 50:
            raise ValueError(f"{self.text[:40]!r} nests too deeply")
        if token in ("-", "+"):
            return self._atom(depth + 1) * (-1 if token == "-" else 1)
        if token == "(":
            value = self._sum(depth + 1)
            if self._next() != ")":
                raise ValueError(f"{self.text!r} lacks a closing bracket")
            return value
        if token == "pi":
            return math.pi
        if token in "*/)":
            raise ValueError(f"{self.text!r} is not a number or a sum like 'pi / 2'")
        return float(token)

    def _next(self) -> str:
        if self.position >= len(self.tokens):
            raise ValueError(f"{self.text!r} ends too early")
        self.position += 1
        return self.tokens[self.position - 1]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"the key {key!r} stands there twice")
        data[key] = value
    return data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that can be used")
