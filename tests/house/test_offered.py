"""What the two packages offer: every name is there, typed, documented, and loaded only when it is used."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from importlib import import_module
from types import ModuleType

import pytest

from tests.house.sources import tree
from tests.support.paths import ROOT

PACKAGES = ("blockwise", "contraband")
MADE = ("Cluster", "Grid", "InProcess", "OnDask", "RunOptions", "Stage", "Volume", "Result", "VolumeSettings")
"""Classes that users make themselves, or are handed."""

LIGHT = """
import sys
before = set(sys.modules)
import {package}
print(*sorted(set(sys.modules) - before))
"""


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> ModuleType:
    """One of the two."""
    return import_module(request.param)


def homes(package: ModuleType) -> dict[str, str]:
    """Names by the module that defines them, as they are loaded."""
    return {name: home for home, names in package._HOMES.items() for name in names}


def test_every_name_is_where_it_is_said_to_be(package: ModuleType) -> None:
    """Each name can be had and is listed; another one is an AttributeError that names it."""
    assert sorted(homes(package)) == sorted(package.__all__) == sorted(dir(package))
    for name, home in homes(package).items():
        assert getattr(package, name) is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


def test_type_checkers_are_told_the_same(package: ModuleType) -> None:
    """The imports that only type checkers see are those that happen, and each package says that it is typed."""
    path = f"{package.__name__}/__init__.py"
    (told,) = [
        node for node in tree(path).body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {alias.name: node.module for node in told.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == homes(package)
    assert (ROOT / package.__name__ / "py.typed").is_file()
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert "py.typed" in shipped[package.__name__]


def test_what_is_called_is_documented_with_an_example(package: ModuleType) -> None:
    """`help()` of each function, and of each class that users make, shows two lines to try."""
    names = [name for name in package.__all__ if inspect.isfunction(inspect.unwrap(getattr(package, name)))]
    assert len(names) >= 7
    for name in [*names, *(name for name in MADE if name in package.__all__)]:
        head, found, example = (inspect.getdoc(getattr(package, name)) or "").partition("\nExample")
        assert head, name
        assert found, f"{package.__name__}.{name}"
        assert len(example.strip().splitlines()) >= 3, name


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_loads_nothing_else(name: str) -> None:
    """`import contraband` costs no more than its own few lines."""
    script = LIGHT.format(package=name)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert loaded
    assert not [module for module in loaded if module.partition(".")[0] not in {*PACKAGES, "__future__", "collections"}]
