"""The project's own files, as the tests of the house rules see them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT


@cache
def tracked() -> tuple[str, ...]:
    """Every file of the project relative to its root: what git tracks, or would if it were added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(name for name in sorted(set(listed.splitlines())) if (ROOT / name).is_file())


def modules(*packages: str) -> list[str]:
    """Python files of the given top-level folders."""
    return [name for name in tracked() if name.endswith(".py") and name.split("/")[0] in packages]


@cache
def tree(name: str) -> ast.Module:
    """The parsed source of a tracked Python file."""
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def imported(name: str) -> Iterator[str]:
    """Top-level names of all modules that a file imports, wherever in the file."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]


@cache
def ours() -> dict[str, str]:
    """The file of each module of the packages, by its dotted name."""
    return {dotted(name): name for name in modules("blockwise", "contraband")}


def bindings(name: str) -> set[tuple[str, str]]:
    """What the names that a file imports stand for, as (np, numpy) or (read, blockwise.arrays.volume.read)."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {(alias.asname or alias.name, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(alias.asname or alias.name, f"{_source(name, node)}.{alias.name}") for alias in node.names}
    return found


def imported_modules(name: str) -> set[str]:
    """Modules of the packages that a file imports: at its top, inside functions or for type checkers only."""
    homes = {target if target in ours() else target.rpartition(".")[0] for _, target in bindings(name)}
    return (homes & ours().keys()) - {dotted(name)}


def _source(name: str, node: ast.ImportFrom) -> str:
    """The module that `from ... import` names, with leading dots resolved."""
    if not node.level:
        return node.module or ""
    above = list(Path(name).parent.parts)
    return ".".join([*above[: len(above) - node.level + 1], *filter(None, [node.module])])


def dotted(name: str) -> str:
    """`blockwise.kernels` for `blockwise/kernels/__init__.py`."""
    return ".".join(Path(name).with_suffix("").parts).removesuffix(".__init__")
