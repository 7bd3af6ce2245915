"""Rules of the code that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.house.sources import dotted, imported, modules, tree
from tests.support.paths import ROOT

BARRED = {"torch", "gunpowder", "contraband"}
FILE_LINES = 300
FUNCTION_LINES = 40

IMPORT_WITHOUT = """
import importlib, sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {barred}:
            raise ImportError(name + " is barred")

sys.meta_path.insert(0, Barred())
for name in {names}:
    importlib.import_module(name)
loaded = sorted({barred} & set(sys.modules))
sys.exit(", ".join(loaded) or 0)
"""


@pytest.mark.parametrize("name", modules("blockwise"))
def test_blockwise_names_no_package_of_the_other_side(name):
    """No file of blockwise imports torch, gunpowder or contraband, not even inside a function."""
    assert not BARRED & set(imported(name))


def test_blockwise_is_imported_where_torch_is_not_installed():
    """Every module of blockwise can be loaded by a worker that has neither torch nor gunpowder."""
    names = [dotted(name) for name in modules("blockwise")]
    script = IMPORT_WITHOUT.format(barred=BARRED, names=names)
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("name", modules("blockwise", "contraband"))
def test_files_are_short(name):
    """A file of the packages has fewer than 300 lines."""
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) < FILE_LINES


@pytest.mark.parametrize("name", modules("blockwise", "contraband"))
def test_functions_are_short(name):
    """A function has fewer than 40 lines; its docstring and decorators are not counted."""
    long = {}
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines(node) >= FUNCTION_LINES:
            long[node.name] = lines(node)
    assert not long


@pytest.mark.parametrize("name", modules("blockwise", "contraband", "tests"))
def test_nothing_evaluates_or_unpickles_what_it_reads(name):
    """No eval, no exec, no unpickling of files: data is never code."""
    assert not [f"line {node.lineno}" for node in ast.walk(tree(name)) if runs_data(node)]


@pytest.mark.parametrize("name", modules("blockwise", "contraband"))
def test_tables_and_blocks_are_made_in_one_place(name):
    """Kinds of tables are named on the page of all tables only, and blocks come from a grid: nobody forges one."""
    homes = {"Table": "blockwise/stages/tables.py", "Block": "blockwise/grid.py"}
    made = {called(node) for node in ast.walk(tree(name))} & set(homes)
    if any(node.module == "rich.table" for node in ast.walk(tree(name)) if isinstance(node, ast.ImportFrom)):
        made.discard("Table")
    assert not [what for what in made if homes[what] != name]


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    whole = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is None:
        return whole
    return whole - ((first.end_lineno or first.lineno) - first.lineno + 1)


def runs_data(node: ast.AST) -> bool:
    """Whether a call evaluates text, or reads a file in a way that may run code in it."""
    if not isinstance(node, ast.Call):
        return False
    given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
    if given.get("allow_pickle") is True or given.get("weights_only") is False:
        return True
    name = called(node)
    if name == "torch.load":
        return given.get("weights_only") is not True
    return name in {"eval", "exec", "pickle.load", "pickle.loads", "yaml.unsafe_load", "os.system"}


def called(node: ast.AST) -> str:
    """`torch.load` for a call of it; empty for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""
