"""Each key of a stage is told once: its default, its limits, its meaning."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from blockwise.settings import Settings
from contraband.volumes.settings import VolumeSettings
from tests.house.sources import modules, tree

STAGES = ("fragments", "edges", "agglomerate", "segment", "evaluate")


def test_a_key_of_a_stage_has_its_default_in_one_place() -> None:
    """Neither a stage nor a kernel gives a key that stands in the settings of a stage a default of its own."""
    told = sorted({(home(stage, key), key) for stage in STAGES for key in section(stage).model_fields})
    keys = {key for _, key in told}
    files = [name for name in modules("blockwise") if name.startswith(("blockwise/stages/", "blockwise/kernels/"))]
    assert sorted(one for name in files for one in defaults(tree(name)) if one[1] in keys) == told


def section(stage: str) -> type[Settings]:
    """The class of a section of the volume's file."""
    found = VolumeSettings.model_fields[stage].annotation
    assert isinstance(found, type)
    assert issubclass(found, Settings)
    return found


def home(stage: str, key: str) -> str:
    """The class that declares a key."""
    return next(base.__name__ for base in section(stage).__mro__ if key in inspect.get_annotations(base))


def defaults(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Every field and parameter that has a default, with the class or function whose it is."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and one.value is not None]
            yield from ((node.name, ast.unparse(field.target)) for field in fields)
        elif isinstance(node, ast.FunctionDef):
            words = node.args.posonlyargs + node.args.args
            given = words[len(words) - len(node.args.defaults) :]
            given += [word for word, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if value]
            yield from ((node.name, word.arg) for word in given)
