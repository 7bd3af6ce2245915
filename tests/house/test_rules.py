"""Rules of the code that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.house.sources import dotted, imported, modules, tree
from tests.support.paths import ROOT

PACKAGES = modules("blockwise", "contraband")
BARRED = {"torch", "gunpowder", "contraband"}
FILE_LINES = 300
FUNCTION_LINES = 40
STRAIGHT_LINES = 60
MOST_BRANCHES = 2
MOST_PARAMETERS = 6

Function = ast.FunctionDef | ast.AsyncFunctionDef

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


def test_blockwise_names_no_package_of_the_other_side():
    """No file of blockwise imports torch, gunpowder or contraband, not even inside a function."""
    assert not {name: found for name in modules("blockwise") if (found := BARRED & set(imported(name)))}


def test_blockwise_is_imported_where_torch_is_not_installed():
    """Every module of blockwise can be loaded by a worker that has neither torch nor gunpowder."""
    names = [dotted(name) for name in modules("blockwise")]
    script = IMPORT_WITHOUT.format(barred=BARRED, names=names)
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def test_files_are_short():
    """A file of the packages has fewer than 300 lines."""
    counts = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in PACKAGES}
    assert not {name: count for name, count in counts.items() if count >= FILE_LINES}


def test_functions_are_short():
    """A function has fewer than 40 lines, a straight sequence fewer than 60.

    Docstrings, decorators and comments are not counted: what says why is not to be paid for with code.
    """
    long = {}
    for name, node in functions():
        count = lines(node, name)
        if count >= (STRAIGHT_LINES if is_straight(node) else FUNCTION_LINES):
            long[f"{name}: {node.name}"] = count
    assert not long


def test_functions_take_few_parameters():
    """At most six, `self` apart; what belongs together is an object.

    Three kinds of functions take more. Compiled kernels get tables column by column: numba has no cheap way to
    pass objects, and its tuples would hide which columns are written to. Commands have a parameter for each flag, and
    what `import contraband` offers has the same as keywords, so that nobody builds an object to make one call.
    """
    many = {}
    for name, node in functions():
        count = parameters(node)
        is_kernel = any(ast.unparse(one) == "compiled" for one in node.decorator_list)
        if count > MOST_PARAMETERS and not (is_kernel or is_command(node, name) or name == "contraband/interface.py"):
            many[f"{name}: {node.name}"] = count
    assert not many


def test_straight_sequences_are_told_apart():
    """No loop, and at most two branches."""
    branches = "\n".join(["def f():", *["    if a: b()"] * 3])
    (function,) = ast.parse(branches).body
    assert not is_straight(function)
    function.body.pop()
    assert is_straight(function)
    (function,) = ast.parse("def f():\n    for a in b: c()").body
    assert not is_straight(function)


def test_nothing_evaluates_or_unpickles_what_it_reads():
    """No eval, no exec, no unpickling of files: data is never code."""
    everything = [(name, node) for name in modules("blockwise", "contraband", "tests") for node in ast.walk(tree(name))]
    assert not [f"{name}:{node.lineno}" for name, node in everything if runs_data(node)]


def test_tables_and_blocks_are_made_in_one_place():
    """Kinds of tables are named on the page of all tables only, and blocks come from a grid: nobody forges one."""
    homes = {"Table": "blockwise/stages/tables.py", "Block": "blockwise/grid.py"}
    forged = {}
    for name in PACKAGES:
        made = {called(node) for node in ast.walk(tree(name))} & set(homes)
        if any(node.module == "rich.table" for node in ast.walk(tree(name)) if isinstance(node, ast.ImportFrom)):
            made.discard("Table")
        if found := [what for what in made if homes[what] != name]:
            forged[name] = found
    assert not forged


def functions() -> Iterator[tuple[str, Function]]:
    """All functions of the packages with their files, methods and inner ones too."""
    for name in PACKAGES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def lines(function: Function, name: str) -> int:
    """Lines from `def` to the end, without the docstring and without lines that hold nothing but a comment."""
    first = function.body[0]
    end = function.end_lineno or function.lineno
    left_out = set(comment_lines(name))
    if ast.get_docstring(function, clean=False) is not None:
        left_out |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(set(range(function.lineno, end + 1)) - left_out)


@cache
def comment_lines(name: str) -> frozenset[int]:
    """Numbers of the lines of a file that are comments from their first to their last character."""
    with open(ROOT / name, "rb") as file:
        tokens = list(tokenize.tokenize(file.readline))
    return frozenset(
        one.start[0] for one in tokens if one.type == tokenize.COMMENT and not one.line[: one.start[1]].strip()
    )


def is_straight(function: Function) -> bool:
    """Whether a function is read from top to bottom: without a loop, with at most two branches."""
    nodes = list(ast.walk(function))
    branches = sum(isinstance(node, ast.If | ast.Match | ast.Try) for node in nodes)
    return branches <= MOST_BRANCHES and not any(isinstance(node, ast.For | ast.AsyncFor | ast.While) for node in nodes)


def parameters(function: Function) -> int:
    """What a caller may give."""
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def is_command(function: Function, name: str) -> bool:
    """Whether Typer calls it: a function of `commands/` that `cli.py` hands over by name."""
    listed = {ast.unparse(node) for node in ast.walk(tree("contraband/cli.py")) if isinstance(node, ast.Attribute)}
    return name.startswith("contraband/commands/") and f"{Path(name).stem}.{function.name}" in listed


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
