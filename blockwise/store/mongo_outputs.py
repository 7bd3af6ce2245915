"""Several outputs in one MongoDB database, each with collections of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from blockwise.store.base import another_run, masked
from blockwise.store.mongo_connection import connect, told

_RUN = "#run="
"""What comes before an output's identity in the URL that workers get."""
BOUNDS = ("z0", "y0", "x0", "z1", "y1", "x1")
_INDEXES = (
    ("marks", ("stage", "fingerprint")),
    ("failures", ("stage", "key")),
    ("tables", ("kind", "key", *BOUNDS)),
    ("tables", ("stage",)),
    ("parts", ("generation", "place")),
    ("parts", ("stage",)),
)
"""What is asked for. With the bounds the index answers which keys lie in a region; the tables themselves are large."""
_FIRST = "identity"
"""The name, in the collection `meta`, of the output whose collections have no prefix."""


class MongoOutput:
    """One output's collections in the database that the URL names; the collection `meta` lists all outputs.

    Versions before had one output a database, in collections without a prefix: that output keeps them. So does a store
    that is opened for none.
    """

    is_local = False

    def __init__(self, url: str, identity: str | None = None) -> None:
        self._url, _, told_identity = url.partition(_RUN)
        self._name = masked(self._url)
        self._identity = identity or unquote(told_identity) or None
        self._has_indexes = False
        self._client, self._db = connect(self._url)
        with self._talking():
            first = self._db.meta.find_one({"_id": _FIRST})
        is_first = self._identity is None or (first is not None and first["value"] == self._identity)
        self._prefix = "" if is_first else f"{self._identity}."
        self._row = _FIRST if is_first else f"run {self._identity}"

    def __repr__(self) -> str:
        return f"MongoStore({self._name})"

    @property
    def url(self) -> str:
        """The URL, password included, with the output it is for."""
        return self._url if self._identity is None else f"{self._url}{_RUN}{quote(self._identity, safe='')}"

    def check_writable(self) -> None:
        """Raise BadInput if nothing can be written; leaves nothing."""
        probe = {"_id": f"probe {ObjectId()}"}
        with self._talking():
            self._db.meta.insert_one(probe)
            self._db.meta.delete_one(probe)

    def claim(self, identity: str, place: str = "") -> None:
        """Tie the store to one output, and note where that lies; raises BadInput if it belongs to another."""
        if self._identity in (None, identity):
            with self._talking():
                self._db.meta.update_one({"_id": self._row}, {"$setOnInsert": {"value": identity}}, upsert=True)
        found = self.owner()
        if found != identity:
            raise another_run(self._name, str(found), identity)
        with self._talking():
            self._db.meta.update_one({"_id": self._row}, {"$set": {"place": place}})

    def owner(self) -> str | None:
        """The output it is tied to; None if nobody claimed it."""
        with self._talking():
            found = self._db.meta.find_one({"_id": self._row})
        return None if found is None else str(found["value"])

    def outputs(self) -> dict[str, str]:
        """All outputs in this database by their identities, and the place of each; empty where it is not known."""
        with self._talking():
            return {str(row["value"]): row.get("place", "") for row in self._db.meta.find() if "value" in row}

    def forget(self) -> None:
        """Forget everything of this output, first what is done."""
        with self._talking():
            for name in ("marks", "failures", "stages", "tables", "parts"):
                self._in(name).drop()
            self._db.meta.delete_one({"_id": self._row})
        self._has_indexes = False

    def close(self) -> None:
        """Let go of the connections; harmless when repeated."""
        self._client.close()

    def _in(self, collection: str) -> Collection[dict[str, Any]]:
        """One of this output's collections."""
        return self._db[self._prefix + collection]

    def _make_indexes(self) -> None:
        if not self._has_indexes:
            for collection, fields in _INDEXES:
                self._in(collection).create_index([(field, 1) for field in fields])
            self._has_indexes = True

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except PyMongoError as error:
            raise told(error, self._name) from error
