"""One word, one meaning: what no two things may be called."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.house.sources import modules, tree

VAGUE = {"part", "parts", "Part"}
"""Say substage, piece, rows, table, ingredient, region, or whatever it is."""


def test_no_two_classes_have_one_name():
    """A class is called by one name in both packages, and no other class or type is called so."""
    homes = defaultdict(list)
    for name in modules("blockwise", "contraband"):
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name)
    types = aliases()
    twice = {name: where for name, where in homes.items() if len(where) > 1 or name in types}
    assert not twice


def test_a_type_of_one_name_is_one_type():
    """Where two files define a type of one name, such as `Positive`, it is the same type."""
    assert not {name: found for name, found in aliases().items() if len(found) > 1}


def test_names_are_not_vague():
    """Nothing is called a part; pathlib's and Python's own attributes of that name are meant by nobody."""
    named = [(name, word) for name in modules("blockwise", "contraband") for word in defined(tree(name))]
    assert not [one for one in named if one[1].strip("_") in VAGUE]


def aliases() -> dict[str, set[str]]:
    """What types like `Span = tuple[int, int]` stand for, by their names: capitalised, at the top of a file."""
    found = defaultdict(set)
    for name in modules("blockwise", "contraband"):
        for node in tree(name).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                alias = node.targets[0].id
                if alias[0].isupper() and not alias.isupper():
                    found[alias].add(ast.unparse(node.value))
    return found


def defined(module: ast.Module) -> set[str]:
    """All names that a file gives to something: functions, classes, arguments, variables, attributes."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names
