"""The rooms of the two packages: nothing goes round in a circle, and few enough to be seen at a glance.

A room is what lies at the top of a package: a sub-package or a module.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.house.sources import imported_modules, modules, ours

MOST_ROOMS = 14


def test_files_do_not_import_each_other_in_a_circle():
    """Files can be read one after the other: none needs, even inside a function, one that needs it."""
    assert not circle({module: imported_modules(name) for module, name in ours().items()})


def test_rooms_do_not_import_each_other_in_a_circle():
    """So can rooms: what is below knows nothing of what is above."""
    needs = defaultdict(set)
    for module, name in ours().items():
        needs[room(module)] |= {room(other) for other in imported_modules(name)} - {room(module)}
    assert not circle(needs)


@pytest.mark.parametrize("package", ["blockwise", "contraband"])
def test_a_package_has_few_rooms(package):
    """At most 14 modules and sub-packages at the top; the package's own page is none."""
    assert len({room(module) for module, name in ours().items() if module.startswith(f"{package}.")}) <= MOST_ROOMS


def test_circles_are_found():
    """Of two and of three, and nothing where there is none."""
    assert set(circle({"a": ["b"], "b": ["a"]})) == {"a", "b"}
    assert set(circle({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]})) == {"a", "b", "c"}
    assert not circle({"a": ["b", "c"], "b": ["c"]})


def test_every_way_of_importing_counts():
    """An import inside a function is seen, and so is one that only type checkers follow."""
    assert "blockwise.store.mongo" in imported_modules("blockwise/store/__init__.py")  # inside a function
    assert "blockwise.store.base" in imported_modules("blockwise/stage.py")  # for type checkers only
    assert all(imported_modules(name) <= ours().keys() for name in modules("blockwise", "contraband"))


def room(module: str) -> str:
    """`blockwise.store` for `blockwise.store.base`."""
    return ".".join(module.split(".")[:2])


def circle(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that need each other in a circle; empty if there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []
