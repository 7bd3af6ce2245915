"""Small sums such as `"pi / 2"` in a settings file: parsed by Python's own parser, never evaluated."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

_OPERATORS: dict[type[ast.operator | ast.unaryop], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_LONGEST = 200
"""Characters of a sum: brackets nested without end would exhaust the parser."""


def parse_number(value: object) -> object:
    """The number a text such as `"pi / 2"` stands for; anything that is not text stays as it is.

    Knows numbers, pi, + - * / and brackets; raises ValueError otherwise.
    """
    if not isinstance(value, str):
        return value
    fault = ValueError(f"{value[:40]!r} is not a number or a sum like 'pi / 2'")
    if len(value) > _LONGEST:
        raise fault
    try:
        number = float(_value_of(ast.parse(value.strip(), mode="eval").body))
    except ZeroDivisionError:
        raise ValueError(f"{value!r} divides by zero") from None
    except (SyntaxError, TypeError, OverflowError, RecursionError, MemoryError):
        raise fault from None
    if not math.isfinite(number):
        raise fault
    return number


def _value_of(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id="pi"):
            return math.pi
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value_of(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value_of(left), _value_of(right))
    raise TypeError(ast.dump(node))
