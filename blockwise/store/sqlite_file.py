"""The connection to an SQLite file: its log, its schema, and file systems that keep no locks."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import quote

from blockwise.files.locks import keeps_locks

log = logging.getLogger(__name__)

BUSY_S = 60
_SCHEMA = """
create table if not exists meta (name text primary key, value text not null);
create table if not exists stages (place integer primary key, name text unique not null, info text not null);
create table if not exists blocks (
    stage text, key integer, fingerprint text not null, voxels integer, wall real, cpu real, rss integer,
    primary key (stage, key)) without rowid;
create table if not exists failures (
    stage text, key integer, attempt integer, error text, primary key (stage, key)) without rowid;
create table if not exists tables (
    kind text, key integer, stage text,
    z0 integer, y0 integer, x0 integer, z1 integer, y1 integer, x1 integer, data blob not null,
    primary key (kind, key));
create index if not exists tables_of_stage on tables (stage);
"""
_TABLES = {"meta", "stages", "blocks", "failures", "tables"}
FOREIGN = "it has tables of another program"
"""Why a file is refused whose tables are not ours."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the file, made with its schema if need be; its folder is there. Raises sqlite3.Error.

    Written ahead to a log, so that readers and a writer do not wait for each other. Where the file system keeps no
    locks, there is neither such a log nor SQLite's own way to keep writers apart: a folder beside the file stands for
    a lock then, and each transaction takes longer.
    """
    if path.exists() and not os.access(path.parent, os.W_OK):
        return _read_only(path)
    if keeps_locks(path.parent):
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        ready = _write_ahead
    else:
        _say_once(path)
        _drop_dead_lock(path)
        address = f"file:{quote(str(path))}?vfs=unix-dotfile"
        connection = sqlite3.connect(address, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=True)
        connection.execute("pragma locking_mode = exclusive")  # else a log from elsewhere cannot be read here
        ready = _write_back
    try:
        _patiently(lambda: _check_tables(connection))
        _patiently(lambda: ready(connection))
        _patiently(lambda: _make_schema(connection))
    except BaseException:
        connection.close()
        raise
    return connection


def _read_only(path: Path) -> sqlite3.Connection:
    """A connection for a folder that this user, or anybody, cannot write to: it reads, and refuses to write.

    Without a log nobody writes to the file, and SQLite, which would make the files by which writers and readers meet,
    is told so.
    """
    log_ahead = path.with_name(path.name + "-wal")
    kind = "mode=ro" if log_ahead.exists() and log_ahead.stat().st_size else "mode=ro&immutable=1"
    address = f"file:{quote(str(path))}?{kind}"
    return sqlite3.connect(address, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=True)


@cache
def _say_once(path: Path) -> None:
    log.warning("%s: the file system refuses locks; the store is slower without", path)


def _write_ahead(connection: sqlite3.Connection) -> None:
    if connection.execute("pragma journal_mode").fetchone()[0] != "wal":
        connection.execute("pragma journal_mode = wal")


def _write_back(connection: sqlite3.Connection) -> None:
    """Without a log, also for a file that has one from elsewhere."""
    connection.execute("pragma journal_mode = delete")
    connection.execute("pragma locking_mode = normal")
    connection.execute("select count(*) from sqlite_master")  # lets go of the lock


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}


def _check_tables(connection: sqlite3.Connection) -> None:
    """Raise DatabaseError, with nothing changed, for a file that has tables, and not all of ours.

    They are made in one transaction.
    """
    found = _tables(connection)
    if found and not found >= _TABLES:
        raise sqlite3.DatabaseError(FOREIGN)


def _make_schema(connection: sqlite3.Connection) -> None:
    if _tables(connection):
        return
    with connection:
        connection.execute("begin immediate")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)


def _patiently(work: Callable[[], None]) -> None:
    """Do it again as long as others are in the way: SQLite by itself waits for them nearly everywhere, but of several
    processes that change a file to another kind of log at the same time it refuses all but one at once."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            work()
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > end:
                raise
        time.sleep(random.uniform(0.001, 0.02))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _drop_dead_lock(path: Path) -> None:
    """A transaction takes far less than a minute: a folder that has been there for longer is that of a dead process."""
    lock = path.with_name(path.name + ".lock")
    try:
        if time.time() - lock.stat().st_mtime > BUSY_S:
            lock.rmdir()
            log.warning("%s: removed, a process that died has left it", lock)
    except OSError:  # it is gone, as it should be
        return
