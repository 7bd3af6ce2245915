"""The store in a MongoDB database, for runs whose workers are on many machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import batched, groupby
from typing import Any

import numpy as np
import pymongo
from bson import Int64, ObjectId
from funlib.geometry import Roi

from blockwise.errors import WorkFailed
from blockwise.grid import Grid
from blockwise.store.base import (
    COST,
    Failure,
    Record,
    StageInfo,
    Tables,
    Totals,
    info_from_json,
    info_to_json,
    mask_of,
)
from blockwise.store.mongo_outputs import BOUNDS, MongoOutput
from blockwise.store.packing import pack_table, unpack_table
from blockwise.store.table import Entry, Rows, Table

PIECE_BYTES = 8_000_000
"""A document may have 16 MB; larger tables are kept in pieces."""
_FETCH = 16
_MARKS = 100_000
_FAILURE = ("_id", "stage", "key", "attempt", "error")
_KEYS = np.dtype([("key", "<i8")])


class MongoStore(MongoOutput, Tables):
    """A store in the database that the URL names. Every write is in the server's journal before it returns.

    Nothing is sorted by the server, which may use no more than 100 MB for it, and no cursor is open between rows that
    are handed out: whoever works on one for an hour finds the next.
    """

    def put_stage(self, info: StageInfo) -> None:
        """Remember with what a stage is made; replaces."""
        change = {"$set": {"info": info_to_json(info)}, "$setOnInsert": {"place": ObjectId()}}
        with self._talking():
            self._in("stages").update_one({"_id": info.name}, change, upsert=True)

    def stages(self) -> list[StageInfo]:
        """All stages, in the order in which they first came."""
        with self._talking():
            rows = sorted(self._in("stages").find(), key=lambda row: row["place"])
        return [info_from_json(row["info"]) for row in rows]

    def done_mask(self, stage: str, grid: Grid, fingerprint: str | None = None) -> np.ndarray:
        """(grid.counts) bool: which blocks are done, if given with this fingerprint."""
        return mask_of(self._latest(stage, fingerprint, _KEYS)["key"], grid)

    def mark(self, stage: str, records: Sequence[Record]) -> None:
        """Remember blocks as done, for good when this returns; replaces, and forgets their failures.

        One document a call, and what is marked later counts: a document a block would make marking and resuming
        slow (400 a second on the test server, against 100,000 this way).
        """
        for digest, some in groupby(records, lambda one: one.fingerprint):
            for batch in batched(some, _MARKS):
                self._mark(stage, digest, batch)

    def fail(self, stage: str, failures: Sequence[Failure]) -> None:
        """Remember blocks as failed; replaces."""
        rows = [(f"{stage}:{one.key}", stage, Int64(one.key), one.attempt, one.error) for one in failures]
        self._replace("failures", [dict(zip(_FAILURE, row, strict=True)) for row in rows])

    def failures(self, stage: str) -> list[Failure]:
        """Blocks that failed and have not been done since, by key."""
        with self._talking():
            rows = sorted(self._in("failures").find({"stage": stage}), key=lambda row: row["key"])
        return [Failure(int(row["key"]), row["attempt"], row["error"]) for row in rows]

    def clear(self, stage: str) -> None:
        """Forget the stage: first its blocks, so that a crash leaves none that is done without its tables."""
        with self._talking():
            for name in ("marks", "failures", "tables", "parts"):
                self._in(name).delete_many({"stage": stage})
            self._in("stages").delete_one({"_id": stage})

    def keep(self, stage: str, keys: np.ndarray, fingerprint: str) -> None:
        """Of the stage's finished blocks, leave only these, as if made with this fingerprint; and no failures."""
        rows = self._latest(stage)
        rows = rows[np.isin(rows["key"], keys)]
        with self._talking():
            for start in range(0, len(rows), _MARKS):
                data = rows[start : start + _MARKS].tobytes()
                self._in("marks").insert_one({"stage": stage, "fingerprint": fingerprint, "records": data})
            for other in self._in("marks").distinct("fingerprint", {"stage": stage}):
                if other != fingerprint:
                    self._in("marks").delete_many({"stage": stage, "fingerprint": other})
            self._in("failures").delete_many({"stage": stage})

    def totals(self, stage: str) -> Totals:
        """Sums over its blocks."""
        with self._talking():
            failed = self._in("failures").count_documents({"stage": stage})
        rows = self._latest(stage)
        if not len(rows):
            return Totals(failed=failed)
        return Totals(
            len(rows),
            failed,
            int(rows["voxels"].sum()),
            float(rows["wall"].sum()),
            float(rows["cpu"].sum()),
            int(rows["rss"].max()),
        )

    def costs(self, stage: str, first: int, end: int) -> np.ndarray:
        """(n,) COST of the finished blocks with keys from `first` to before `end`, by key."""
        rows = self._latest(stage)
        return rows[(rows["key"] >= first) & (rows["key"] < end)]

    def forgive(self, stage: str, keys: Sequence[int]) -> None:
        """Forget that these blocks failed, so that they are tried again; harmless where they have not."""
        with self._talking():
            self._in("failures").delete_many({"_id": {"$in": [f"{stage}:{key}" for key in keys]}})

    def put_all(self, table: Table, entries: Sequence[Entry]) -> None:
        """Several keys at once."""
        for one in entries:
            table.check(one.rows)
        heads = [self._head(table, one) for one in entries]
        with self._talking():
            names = {"_id": {"$in": [head["_id"] for head in heads]}}
            known = self._in("tables").find(names, {"generation": 1, "parts": 1})
            old = [row["generation"] for row in known if row["parts"]]
        self._replace("tables", heads)
        if old:
            with self._talking():
                self._in("parts").delete_many({"generation": {"$in": old}})

    def get(self, table: Table, key: int) -> Rows | None:
        """The rows of one key; None if it has none."""
        for _ in range(10):  # a table in pieces may be replaced between reading its head and them
            with self._talking():
                head = self._in("tables").find_one({"_id": f"{table.kind}:{key}"})
            if head is None:
                return None
            data = self._data(head)
            if data is not None:
                return unpack_table(data)
        raise WorkFailed(f"{self._name}: table {table.kind} of block {key} has lost pieces; redo its stage")

    def each(self, table: Table, region: Roi | None = None) -> Iterator[tuple[int, Rows]]:
        """(key, rows) of all keys, in their order, or of those whose region meets `region` (in voxels)."""
        query: dict[str, Any] = {"kind": table.kind}
        if region is not None:
            values = [int(value) for value in (*region.end, *region.begin)]
            signs = ("$lt",) * 3 + ("$gt",) * 3
            query.update({name: {sign: at} for name, sign, at in zip(BOUNDS, signs, values, strict=True)})
        with self._talking():
            keys = sorted(int(row["key"]) for row in self._in("tables").find(query, {"key": 1, "_id": 0}))
        for some in batched(keys, _FETCH):
            with self._talking():
                heads = {row["key"]: row for row in self._in("tables").find({"kind": table.kind, "key": {"$in": some}})}
            for key in some:
                data = self._data(heads[key]) if key in heads else None
                rows = self.get(table, key) if data is None else unpack_table(data)
                if rows is not None:
                    yield key, rows

    def _mark(self, stage: str, digest: str, records: Sequence[Record]) -> None:
        rows = [(one.key, one.voxels, one.wall_seconds, one.cpu_seconds, one.peak_rss_bytes) for one in records]
        names = [f"{stage}:{one.key}" for one in records]
        data = np.array(rows, COST).tobytes()
        with self._talking():
            self._make_indexes()
            self._in("marks").insert_one({"stage": stage, "fingerprint": digest, "records": data})
            self._in("failures").delete_many({"_id": {"$in": names}})

    def _latest(self, stage: str, fingerprint: str | None = None, kind: np.dtype[Any] = COST) -> np.ndarray[Any, Any]:
        """The last record of each block, by key; if given, those with this fingerprint. kind: the fields to keep."""
        found = []
        with self._talking():
            for row in self._in("marks").find({"stage": stage}):
                records = np.frombuffer(row["records"], COST)
                wanted = records if kind == COST else fields_of(records, kind)
                found.append((row["_id"], fingerprint in (None, row["fingerprint"]), wanted))
        found.sort(key=lambda one: one[0])
        kept = np.repeat([fits for _, fits, _ in found], [len(some) for _, _, some in found])[::-1].astype(bool)
        rows = np.concatenate([*(some for _, _, some in found), np.empty(0, kind)])[::-1]
        del found
        _, last = np.unique(rows["key"], return_index=True)
        latest: np.ndarray[Any, Any] = rows[last[kept[last]]]
        return latest

    def _head(self, table: Table, entry: Entry) -> dict[str, Any]:
        """The document of a table; if it is large, its pieces are written first, under a generation of their own."""
        generation = ObjectId()
        data = pack_table(entry.rows)
        starts = range(0, len(data), PIECE_BYTES) if len(data) > PIECE_BYTES else ()
        pieces = [data[at : at + PIECE_BYTES] for at in starts]
        if pieces:
            common = {"generation": generation, "stage": table.stage}
            with self._talking():
                self._in("parts").insert_many(
                    [{**common, "place": place, "data": piece} for place, piece in enumerate(pieces)]
                )
        return {
            "_id": f"{table.kind}:{entry.key}",
            "kind": table.kind,
            "key": Int64(entry.key),
            "stage": table.stage,
            **dict(zip(BOUNDS, entry.bounds, strict=True)),
            "generation": generation,
            "parts": len(pieces),
            "data": b"" if pieces else data,
        }

    def _data(self, head: Mapping[str, Any]) -> bytes | None:
        """The packed table; None if its pieces are gone because it was replaced."""
        if not head["parts"]:
            return bytes(head["data"])
        with self._talking():
            pieces = sorted(self._in("parts").find({"generation": head["generation"]}), key=lambda one: one["place"])
        return b"".join(piece["data"] for piece in pieces) if len(pieces) == head["parts"] else None

    def _replace(self, collection: str, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        with self._talking():
            self._make_indexes()
            changes = [pymongo.ReplaceOne({"_id": row["_id"]}, row, upsert=True) for row in rows]
            self._in(collection).bulk_write(changes, ordered=False)


def fields_of(records: np.ndarray[Any, Any], kind: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The fields that `kind` has, copied, so that the other ones can be forgotten."""
    found = np.empty(len(records), kind)
    for name in kind.names or ():
        found[name] = records[name]
    return found
