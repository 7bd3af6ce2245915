"""The memory of a run: SQLite by default, MongoDB by URL."""

from __future__ import annotations

import os
from pathlib import Path

from blockwise.errors import BadInput
from blockwise.store.base import Failure, Record, StageInfo, Store, Totals, masked

__all__ = ["Failure", "Record", "StageInfo", "Store", "Totals", "empty_store", "masked", "open_store"]


def open_store(url: str, identity: str | None = None) -> Store:
    """The store at `sqlite:///PATH` (four slashes: absolute) or `mongodb://[USER:PASSWORD@]HOST/DATABASE`.

    identity: the output it is for, of which MongoDB has many in one database; a store's own `url` names it too.
    Writes nothing. Raises BadInput within some seconds if the server does not answer or the file is no store. SQLite is
    for workers on this machine. Close it when all is done.

    Example:
        store = open_store("sqlite:///out/vol.db")
        print(store.totals("fragments").done)
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        from blockwise.store.sqlite import SqliteStore

        if not rest.startswith("/") or rest == "/":
            raise BadInput("store", "no path in the URL", got=url, wanted="sqlite:///out/vol.db")
        return SqliteStore(Path(rest[1:]))
    if scheme in ("mongodb", "mongodb+srv"):
        from blockwise.store.mongo import MongoStore

        mongo: Store = MongoStore(url, identity)
        return mongo
    raise BadInput("store", "unknown kind of store", got=masked(url), wanted="sqlite:///... or mongodb://...")


def empty_store() -> Store:
    """A store that holds nothing and cannot be written to: to look at a run as if it were the first."""
    from blockwise.store.sqlite import SqliteStore

    return SqliteStore(Path(os.devnull) / "nothing.db")
