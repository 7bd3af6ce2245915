"""Nothing lies about: every name of the packages is used in them, every dependency is imported."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache

import pytest

from tests.house.sources import bindings, dotted, ours, tree
from tests.support.paths import ROOT

CALLED_BY_OTHERS = {
    "blockwise.engine.run.run_stages": "interface: who has stages of their own begins here",
    "blockwise.executor.ondask.preload.dask_setup": "Dask calls it by this name in every worker",
    "blockwise.executor.ondask.endings.dask_setup": "and in every nanny",
    "blockwise.executor.ondask.alone.dask_setup": "and this one in a scheduler that was started over SSH",
    "blockwise.executor.ondask.remaining.dask_setup": "and this one in every worker that is a job",
}

LOADED_BY_NAME = {
    "bokeh": "the pages of Dask's dashboard",
    "tensorboard": "torch.utils.tensorboard writes with it",
    "zarrs": "zarr's codec pipeline, named in the settings of zarr",
}
"""Runtime dependencies that no file of the packages imports, and who needs them."""

MODULES = {"connected-components-3d": "cc3d", "pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
"""Where the package is not called as the module is."""

REQUIRED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]


def test_every_name_is_used_in_the_packages():
    """A function, class or constant at the top of a file is used besides its definition; use by tests does not count.

    What `import blockwise` and `import contraband` offer is interface: both pages name it, so it is used there.
    """
    known = {f"{module}.{name}" for module, file in ours().items() for name in top_names(file)}
    assert not sorted(known - used() - CALLED_BY_OTHERS.keys())


@pytest.mark.parametrize("requirement", REQUIRED)
def test_every_dependency_is_imported(requirement):
    """What an installation brings along is imported by the packages, or loaded by name for a stated reason."""
    package = re.split(r"[^\w.-]", requirement)[0].lower()
    module = MODULES.get(package, package.replace("-", "_"))
    is_imported = any(f"{target}.".startswith(f"{module}.") for target in all_imports())
    assert is_imported != (package in LOADED_BY_NAME)


def top_names(name: str) -> dict[str, ast.stmt]:
    """What a file defines at its top, but for what a decorator hands to somebody else, as `@app.callback()`."""
    found: dict[str, ast.stmt] = {}
    for node in tree(name).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not any(ast.unparse(one).startswith("app.") for one in node.decorator_list):
                found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return {name: node for name, node in found.items() if not name.startswith("__")}


@cache
def used() -> frozenset[str]:
    """Dotted names of all that is used somewhere in the packages, and of much that is not theirs."""
    return all_imports().union(*map(used_within, ours().values()))


@cache
def all_imports() -> frozenset[str]:
    """Dotted names of all that any file of the packages imports."""
    return frozenset(target for name in ours().values() for _, target in bindings(name))


def used_within(name: str) -> set[str]:
    """Names of a file that other statements of it use than the one that defines them, and attributes of modules."""
    stands_for = dict(bindings(name))
    tops = top_names(name)
    found = set()
    for statement in tree(name).body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and tops.get(node.id) is not statement:
                found.add(f"{dotted(name)}.{node.id}")
            elif isinstance(node, ast.Attribute):
                base = ast.unparse(node.value)
                found.add(f"{stands_for.get(base, base)}.{node.attr}")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value.replace(":", "."))  # an entry point that is loaded by name
    return found
