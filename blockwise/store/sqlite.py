"""The store in one SQLite file, for runs whose workers are all on this machine."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi

from blockwise.errors import BadInput, WorkFailed
from blockwise.grid import Grid
from blockwise.store.base import (
    COST,
    Failure,
    Record,
    StageInfo,
    Tables,
    Totals,
    another_run,
    info_from_json,
    info_to_json,
    mask_of,
)
from blockwise.store.packing import pack_table, unpack_table
from blockwise.store.sqlite_file import BUSY_S, FOREIGN, connect, is_busy
from blockwise.store.table import Entry, Rows, Table

_MAGIC = b"SQLite format 3\0"
_FORGIVE = "delete from failures where stage = ? and key = ?"
_PLACES = (("blocks", "stage"), ("failures", "stage"), ("tables", "stage"), ("stages", "name"))


class SqliteStore(Tables):
    """A store in one file, made with its folder on the first write."""

    is_local = True

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._transaction = object()
        _check_file(self._path)

    def __repr__(self) -> str:
        return f"SqliteStore({self._path})"

    @property
    def url(self) -> str:
        """The URL with the absolute path."""
        return f"sqlite:///{self._path}"

    def check_writable(self) -> None:
        """Raise BadInput if nothing can be written; leaves nothing, not even the file."""
        if self._has_content():
            if not os.access(self._path.parent, os.W_OK):
                raise BadInput(
                    self._path, "the store lies in a folder that cannot be written", todo="name another file"
                )
            with self._writing():
                pass

    def claim(self, identity: str, place: str = "") -> None:
        """Tie the store to one output, and note where that lies; raises BadInput if it belongs to another."""
        if self.owner() is None:
            with self._writing() as connection:
                connection.execute("insert or ignore into meta values ('identity', ?)", (identity,))
        found = self.owner()
        if found != identity:
            raise another_run(str(self._path), str(found), identity)
        if self.outputs() != {identity: place}:
            with self._writing() as connection:
                connection.execute("insert or replace into meta values ('place', ?)", (place,))

    def owner(self) -> str | None:
        """The output it is tied to; None if nobody claimed it."""
        return next(iter(self.outputs()), None)

    def outputs(self) -> dict[str, str]:
        """The output that it is tied to, if any, and its place; empty where it is not known."""
        known = dict(self._read("select name, value from meta"))
        return {known["identity"]: known.get("place", "")} if "identity" in known else {}

    def forget(self) -> None:
        """Forget everything of its output, also that it is tied to it."""
        if self._has_content():
            with self._writing() as connection:
                for table in ("blocks", "failures", "tables", "stages", "meta"):
                    connection.execute(f"delete from {table}")

    def put_stage(self, info: StageInfo) -> None:
        """Remember with what a stage is made; replaces."""
        statement = (
            "insert into stages (name, info) values (?, ?) on conflict (name) do update set info = excluded.info"
        )
        with self._writing() as connection:
            connection.execute(statement, (info.name, info_to_json(info)))

    def stages(self) -> list[StageInfo]:
        """All stages, in the order in which they first came."""
        return [info_from_json(text) for (text,) in self._read("select info from stages order by place")]

    def done_mask(self, stage: str, grid: Grid, fingerprint: str | None = None) -> np.ndarray:
        """(grid.counts) bool: which blocks are done, if given with this fingerprint."""
        query = "select key from blocks where stage = ?"
        rows = (
            self._read(query, (stage,))
            if fingerprint is None
            else self._read(query + " and fingerprint = ?", (stage, fingerprint))
        )
        return mask_of(np.fromiter((key for (key,) in rows), np.int64), grid)

    def mark(self, stage: str, records: Sequence[Record]) -> None:
        """Remember blocks as done, for good when this returns; replaces, and forgets their failures."""
        rows = [
            (
                stage,
                int(one.key),
                one.fingerprint,
                int(one.voxels),
                one.wall_seconds,
                one.cpu_seconds,
                int(one.peak_rss_bytes),
            )
            for one in records
        ]
        with self._writing() as connection:
            connection.executemany("insert or replace into blocks values (?, ?, ?, ?, ?, ?, ?)", rows)
            connection.executemany(_FORGIVE, [row[:2] for row in rows])

    def fail(self, stage: str, failures: Sequence[Failure]) -> None:
        """Remember blocks as failed; replaces."""
        rows = [(stage, int(one.key), one.attempt, one.error) for one in failures]
        with self._writing() as connection:
            connection.executemany("insert or replace into failures values (?, ?, ?, ?)", rows)

    def failures(self, stage: str) -> list[Failure]:
        """Blocks that failed and have not been done since, by key."""
        query = "select key, attempt, error from failures where stage = ? order by key"
        return [Failure(*row) for row in self._read(query, (stage,))]

    def clear(self, stage: str) -> None:
        """Forget the stage: its blocks, failures, tables and settings."""
        with self._writing() as connection:
            for table, column in _PLACES:
                connection.execute(f"delete from {table} where {column} = ?", (stage,))

    def keep(self, stage: str, keys: np.ndarray, fingerprint: str) -> None:
        """Of the stage's finished blocks, leave only these, as if made with this fingerprint; and no failures."""
        with self._writing() as connection:
            connection.execute("create temp table kept (key integer primary key)")
            connection.executemany("insert into kept values (?)", ((int(key),) for key in keys))
            connection.execute("delete from blocks where stage = ? and key not in (select key from kept)", (stage,))
            connection.execute("update blocks set fingerprint = ? where stage = ?", (fingerprint, stage))
            connection.execute("delete from failures where stage = ?", (stage,))
            connection.execute("drop table kept")

    def totals(self, stage: str) -> Totals:
        """Sums over its blocks."""
        query = "select count(*), sum(voxels), sum(wall), sum(cpu), max(rss) from blocks where stage = ?"
        rows = self._read(query, (stage,))
        failed = self._read("select count(*) from failures where stage = ?", (stage,))
        if not rows:
            return Totals()
        done, voxels, wall, cpu, rss = (value or 0 for value in rows[0])
        return Totals(done, failed[0][0], voxels, float(wall), float(cpu), rss)

    def costs(self, stage: str, first: int, end: int) -> np.ndarray:
        """(n,) COST of the finished blocks with keys from `first` to before `end`, by key."""
        query = "select key, voxels, wall, cpu, rss from blocks where stage = ? and key >= ? and key < ? order by key"
        return np.array(self._read(query, (stage, int(first), int(end))), COST)

    def forgive(self, stage: str, keys: Sequence[int]) -> None:
        """Forget that these blocks failed, so that they are tried again; harmless where they have not."""
        with self._writing() as connection:
            connection.executemany(_FORGIVE, [(stage, int(key)) for key in keys])

    def put_all(self, table: Table, entries: Sequence[Entry]) -> None:
        """Several keys at once."""
        for one in entries:
            table.check(one.rows)
        rows = [(table.kind, int(one.key), table.stage, *one.bounds, pack_table(one.rows)) for one in entries]
        statement = f"insert or replace into tables values ({', '.join('?' * 10)})"
        # Not synced by itself: the log is one file, so the sync of a later mark covers all written before it.
        with self._writing(durable=False) as connection:
            connection.executemany(statement, rows)

    def get(self, table: Table, key: int) -> Rows | None:
        """The rows of one key; None if it has none."""
        rows = self._read("select data from tables where kind = ? and key = ?", (table.kind, int(key)))
        return unpack_table(rows[0][0]) if rows else None

    def each(self, table: Table, region: Roi | None = None) -> Iterator[tuple[int, Rows]]:
        """(key, rows) of all keys, in their order, or of those whose region meets `region` (in voxels)."""
        query = "select key from tables where kind = ?"
        values: list[object] = [table.kind]
        if region is not None:
            query += " and z0 < ? and y0 < ? and x0 < ? and z1 > ? and y1 > ? and x1 > ?"
            values += [int(value) for value in (*region.end, *region.begin)]
        for (key,) in self._read(query + " order by key", values):
            rows = self.get(table, key)
            if rows is not None:
                yield key, rows

    def close(self) -> None:
        """Let go of the file; harmless when repeated."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _read(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._connection is None and not self._has_content():
                return []
            try:
                return self._open().execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise _explain(self._path, error) from error

    def _has_content(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0

    @contextmanager
    def _writing(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction; if durable, it is on disk when the block ends."""
        with self._lock:
            try:
                connection = self._open()
                connection.rollback()  # of whoever was interrupted before it could
                connection.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
                own = self._transaction = object()
                try:
                    connection.execute("begin immediate")
                    yield connection
                except BaseException:
                    if self._transaction is own:  # else it was left by an interrupt, and is only now cleared away
                        connection.rollback()
                    raise
                connection.commit()
            except sqlite3.Error as error:
                raise _explain(self._path, error) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(self._path, f"the folder of the store cannot be made ({error})") from None
            self._connection = connect(self._path)
        return self._connection


def _check_file(path: Path) -> None:
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        raise BadInput(path, f"the store cannot be read ({error.strerror})", todo="check the path") from None
    if start not in (b"", _MAGIC):
        raise BadInput(path, "is not an SQLite file", todo="remove it, or name another file under `store`")


def _explain(path: Path, error: sqlite3.Error) -> BadInput | WorkFailed:
    """The error for the user: what can be found before work starts is bad input, the rest failed work."""
    text = str(error)
    if "malformed" in text:
        todo = "put a copy in its place, or remove it: all blocks are then made again"
        return BadInput(path, "the store is damaged", todo=todo)
    if text == FOREIGN:
        return BadInput(path, f"is no store of ours, {text}", todo="name another file under `store`")
    if is_busy(error):
        return WorkFailed(f"{path}: another process has held the store for {BUSY_S} s; what is finished is kept")
    if any(sign in text for sign in ("not a database", "unable to open", "readonly")):
        todo = "check the path, or name another file"
        return BadInput(path, f"the store cannot be used ({text})", todo=todo)
    return WorkFailed(f"{path}: the store cannot be used ({text}); what is finished is kept")
