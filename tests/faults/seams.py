"""Where a run can be struck: functions of the product, wrapped as soon as their module is loaded.

Places and their moments, `WORD` being a stage's word:
  start                       the command begins
  claim, mark output          store and output are tied to each other
  begin WORD, end WORD        the store learns that a stage begins, and that it is finished
  prepare WORD, finish WORD   what the driver does before the first and after the last block
  clear WORD                  a stage is forgotten, with --redo
  process WORD                one block
  write in WORD               voxels of a block
  tables in WORD              tables of a block
  transaction WORD            after: marks are written but not yet committed (SQLite)
  mark WORD, fail WORD        the store learns what became of blocks
  box put, box graph, box clear   pieces of a graph that is solved in boxes
  file PATH                   a file of the output, through zarr; also torn and whole
  put PATH                    an object of the output; seen by the proxy that the requests go through, not here
  json NAME                   report.json or evaluation.json; also torn
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.faults.strike import Striker, read_plan

Where = Callable[..., tuple[str, Sequence[int]]]

STAGES = {
    "blockwise.stages.fragments": "Fragments",
    "blockwise.stages.edges": "Edges",
    "blockwise.stages.agglomerate.stage": "Agglomerate",
    "blockwise.stages.segment": "Segment",
    "blockwise.stages.evaluate.stage": "Evaluate",
    "contraband.volumes.predict": "Predict",
}
_now = threading.local()


def arm() -> None:
    """Have the modules wrapped when they are loaded, if something is planned for this process."""
    found = read_plan()
    if found is not None:
        sys.meta_path.insert(0, _Finder(Striker(*found)))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what the ordinary finders find, and wraps it."""

    def __init__(self, striker: Striker) -> None:
        self.striker = striker

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        wrap = SEAMS.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if wrap else None
        if wrap is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            wrap(module, self.striker)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def around(striker: Striker, owner: Any, name: str, where: Where) -> None:
    """Reach a place before and after a function is called."""
    plain = getattr(owner, name)

    @functools.wraps(plain)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        place, keys = where(*args, **kwargs)
        striker.reach(place, "before", keys)
        result = plain(*args, **kwargs)
        striker.reach(place, "after", keys)
        return result

    setattr(owner, name, wrapped)


def word(name: str) -> str:
    """`segment` for `segment/0.5`."""
    return name.partition("/")[0]


def in_block(what: str) -> tuple[str, Sequence[int]]:
    """A place within the block that this thread is at."""
    stage, key = getattr(_now, "block", ("no stage", -1))
    return f"{what} in {stage}", (key,)


def wrap_stage(module: ModuleType, striker: Striker) -> None:
    """process, prepare and finish of a stage."""
    cls = getattr(module, STAGES[module.__name__])
    process = cls.process

    @functools.wraps(process)
    def noted(self: Any, block: Any, store: Any) -> None:
        _now.block = (word(self.name), block.key)
        process(self, block, store)

    cls.process = noted
    around(striker, cls, "process", lambda self, block, store: (f"process {word(self.name)}", (block.key,)))
    if hasattr(cls, "save"):
        wrap_steps(cls, striker)
    for verb in ("prepare", "finish"):
        around(striker, cls, verb, lambda self, store, verb=verb: (f"{verb} {word(self.name)}", ()))


def wrap_steps(cls: Any, striker: Striker) -> None:
    """The first and the last of the steps that workers call instead of process."""
    load, save = cls.load, cls.save

    def begun(self: Any, block: Any) -> Any:
        striker.reach(f"process {word(self.name)}", "before", (block.key,))
        return load(self, block)

    def ended(self: Any, block: Any, computed: Any) -> None:
        _now.block = (word(self.name), block.key)
        save(self, block, computed)
        striker.reach(f"process {word(self.name)}", "after", (block.key,))

    cls.load, cls.save = begun, ended


def wrap_volume(module: ModuleType, striker: Striker) -> None:
    """Writing voxels."""
    around(striker, module, "write", lambda volume, roi, data: in_block("write"))


def wrap_sqlite(module: ModuleType, striker: Striker) -> None:
    """The store in SQLite, and its transactions; it waits seconds for a lock, not a minute."""
    wrap_store(module.SqliteStore, striker)
    module._BUSY_S = 4

    class Connection(sqlite3.Connection):
        def executemany(self, statement: str, rows: Any, /) -> sqlite3.Cursor:
            rows = list(rows)
            cursor = super().executemany(statement, rows)
            if statement.startswith("insert or replace into blocks"):
                striker.reach(f"transaction {word(rows[0][0])}", "after", [row[1] for row in rows])
            return cursor

    sqlite3.connect = functools.partial(sqlite3.connect, factory=Connection)  # type: ignore[assignment]


def wrap_mongo(module: ModuleType, striker: Striker) -> None:
    """The store in MongoDB."""
    wrap_store(module.MongoStore, striker)


def wrap_store(cls: Any, striker: Striker) -> None:
    """What both stores can do."""
    ends = {True: "end", False: "begin"}
    around(striker, cls, "mark", lambda self, stage, rows: (f"mark {word(stage)}", [row.key for row in rows]))
    around(striker, cls, "fail", lambda self, stage, rows: (f"fail {word(stage)}", [row.key for row in rows]))
    around(striker, cls, "put_stage", lambda self, info: (f"{ends[info.finished]} {word(info.name)}", ()))
    around(striker, cls, "put_all", lambda self, table, entries: in_block("tables"))
    around(striker, cls, "claim", lambda *args, **kwargs: ("claim", ()))
    around(striker, cls, "clear", lambda self, stage: (f"clear {word(stage)}", ()))


def wrap_executor(module: ModuleType, striker: Striker) -> None:
    """In this process each block is marked on its own, so that there is something before and after every mark."""
    collect = module.InProcess.collect
    module.InProcess.collect = lambda self, timeout_s: collect(self, min(timeout_s, 1e-3))


def wrap_files(module: ModuleType, striker: Striker) -> None:
    """zarr's way to put a file: written under another name, then renamed."""
    put, opened = module._put, module._atomic_write

    def wrapped(path: Path, value: Any, exclusive: bool = False) -> int:
        place = file_place(path)
        for moment, part in (("torn", 2), ("whole", 1)):
            if striker.due(place, moment):
                view = memoryview(value.as_buffer_like()).cast("B")
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened(path, "wb", exclusive=exclusive) as file:
                    file.write(view[: len(view) // part])
                    file.flush()
                    striker.do()
        striker.reach(place, "before")
        size: int = put(path, value, exclusive=exclusive)
        striker.reach(place, "after")
        return size

    module._put = wrapped


def file_place(path: Path) -> str:
    """`file fragments/c/0/1/2` for that file of any output."""
    return f"file {in_output(path)}"


def in_output(path: Path) -> str:
    """`fragments/c/0/1/2` for that file or object of any output."""
    parts = path.parts
    roots = [place for place, part in enumerate(parts) if part.endswith(".zarr")]
    return "/".join(parts[roots[-1] + 1 :] if roots else parts)


def wrap_json(module: ModuleType, striker: Striker) -> None:
    """Files that are replaced in one step."""

    def torn(path: Path, data: object) -> tuple[str, Sequence[int]]:
        if striker.due(f"json {path.name}", "torn"):
            path.with_name(path.name + ".partial").write_text('{"best": {"thresho', encoding="utf-8")
            striker.do()
        return f"json {path.name}", ()

    around(striker, module, "write_json", torn)


def wrap_output(module: ModuleType, striker: Striker) -> None:
    """Tying the output to the store."""
    around(striker, module.Output, "mark", lambda self, identity: ("mark output", ()))


def wrap_cli(module: ModuleType, striker: Striker) -> None:
    """The whole command."""
    around(striker, module, "call", lambda arguments, **_: ("start", ()))


SUBSTAGES = {
    "blockwise.stages.agglomerate.boxes": ("Sizes", "Leaves", "Joined"),
    "blockwise.stages.agglomerate.borders": ("Borders", "Shared", "United", "Named"),
    "blockwise.stages.agglomerate.pieces": ("BoxPieces",),
    "blockwise.stages.agglomerate.downwards": ("Within", "InLeaves"),
    "blockwise.stages.numbering": ("ListSegments", "NumberSegments"),
    "blockwise.stages.evaluate.upwards": ("LeafTruths", "ScoredBoxes", "MatchedBoxes"),
}


def wrap_substages(module: ModuleType, striker: Striker) -> None:
    """The substages of all stages, by their names without that of the stage."""
    for name in SUBSTAGES[module.__name__]:
        around(
            striker,
            getattr(module, name),
            "process",
            lambda self, block, store: (f"substage {self.name.partition('/')[2]}", (block.key,)),
        )


def wrap_shelf(module: ModuleType, striker: Striker) -> None:
    """The tables of boxes."""
    for verb in ("put", "clear"):
        around(striker, module.Shelf, verb, lambda *args, verb=verb: (f"box {verb}", ()))


SEAMS: dict[str, Callable[[ModuleType, Striker], None]] = {
    "blockwise.files.whole": wrap_json,
    **dict.fromkeys(STAGES, wrap_stage),
    "blockwise.arrays.volume": wrap_volume,
    "blockwise.store.sqlite": wrap_sqlite,
    "blockwise.store.mongo": wrap_mongo,
    "blockwise.executor.inprocess": wrap_executor,
    **dict.fromkeys(SUBSTAGES, wrap_substages),
    "blockwise.stages.agglomerate.shelf": wrap_shelf,
    "contraband.volumes.output": wrap_output,
    "contraband.cli": wrap_cli,
    "zarr.storage._local": wrap_files,
}
