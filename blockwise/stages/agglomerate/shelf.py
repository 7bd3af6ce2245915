"""Tables of boxes, kept in the store until the dendrogram is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from funlib.geometry import Roi

from blockwise.grid import pack, unpack
from blockwise.kernels.graph.boxes import Rest
from blockwise.stages.tables import BOXES, rest_of
from blockwise.store.base import Store
from blockwise.store.table import Entry, Table

MOST_ROWS = 1 << 20
"""Of a box in one piece; more take several pieces."""

MOST_PLACES = 1 << 21
"""Leaves; as many as blocks along an axis."""

HEAD = np.dtype("<i8")
"""Before the pieces: how many there are, and their bytes."""


@dataclass(frozen=True)
class Shelf:
    """Rows of any length, by table and place (the number of a leaf, of a layer of blocks, or 0)."""

    store: Store

    def put(self, table: Table, place: int, *rows: np.ndarray) -> None:
        """Keep rows, in one array or in several; replaces. They are there once this has returned, all or none."""
        pieces = [some[start : start + MOST_ROWS] for some in rows for start in range(0, len(some), MOST_ROWS)]
        for number, piece in enumerate(pieces, start=1):
            self.store.put(table, _key(place, number), piece)
        nbytes = sum(some.nbytes for some in rows)
        self.store.put(replace(table, dtype=HEAD), _key(place, 0), np.array([len(pieces), nbytes], HEAD))

    def get(self, table: Table, place: int) -> np.ndarray:
        """The rows; KeyError if there are none."""
        return table.joined(list(self.each(table, place)))

    def each(self, table: Table, place: int) -> Iterator[np.ndarray]:
        """The same rows, piece by piece."""
        head = self._head(table, place)
        if head is None:
            raise KeyError(f"{table.kind} {place} is not in the store; use --redo agglomerate")
        for piece in range(1, int(head[0]) + 1):
            rows = self.store.get(table, _key(place, piece))
            if rows is not None:
                yield rows

    def has(self, table: Table, place: int) -> bool:
        """Whether there are rows, if only an empty table of them."""
        return self._head(table, place) is not None

    def nbytes(self, table: Table, place: int) -> int:
        """The size of the rows; 0 if there are none."""
        head = self._head(table, place)
        return 0 if head is None else int(head[1])

    def send(self, table: Table, sender: int, rows: dict[int, np.ndarray]) -> None:
        """Keep rows from one place for others, by these; replaces all that were sent from it."""
        sent: dict[int, Entry] = {}
        for key, _ in self.store.each(table, _sent(0, sender, MOST_PLACES)):
            sent[key] = Entry(key, np.empty(0, table.dtype), _sent(unpack(key)[0], sender))
        for place, some in rows.items():
            for piece, start in enumerate(range(0, len(some), MOST_ROWS)):
                key = pack((place, sender, piece))
                sent[key] = Entry(key, some[start : start + MOST_ROWS], _sent(place, sender))
        self.store.put_all(table, list(sent.values()))

    def received(self, table: Table, place: int) -> Iterator[tuple[int, np.ndarray]]:
        """(sender, rows) of what was sent to a place."""
        for key, rows in self.store.each(table, _sent(place, 0, senders=MOST_PLACES)):
            yield unpack(key)[1], rows

    def put_rest(self, level: int, first: int, rest: Rest) -> None:
        """Keep what a box left over; replaces."""
        clusters, links, histograms, where = rest_of(level)
        self.put(clusters, first, rest.clusters)
        self.put(links, first, *rest.links)
        self.put(histograms, first, rest.histograms)
        self.put(where, first, rest.where)

    def rest(self, level: int, first: int) -> Rest:
        """What a box left over, its links read each time that they are gone through."""
        clusters, links, histograms, where = rest_of(level)
        return Rest(
            self.get(clusters, first),
            _Pieces(self, links, first),
            self.nbytes(links, first) // links.dtype.itemsize,
            self.get(histograms, first),
            self.get(where, first),
        )

    def rest_nbytes(self, level: int, first: int) -> int:
        """Its size."""
        return sum(self.nbytes(table, first) for table in rest_of(level))

    def clear(self) -> None:
        """Forget all tables but the sizes, which are those of a stage."""
        self.store.clear(BOXES)

    def _head(self, table: Table, place: int) -> np.ndarray | None:
        return self.store.get(replace(table, dtype=HEAD), _key(place, 0))


@dataclass(frozen=True)
class _Pieces:
    """The rows of a place, piece by piece, as often as they are asked for."""

    shelf: Shelf
    table: Table
    place: int

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.shelf.each(self.table, self.place)


def _sent(place: int, sender: int, places: int = 1, senders: int = 1) -> Roi:
    """What stands for a region where rows that were sent are asked for by place or by sender."""
    return Roi((place, sender, 0), (places, senders, 1))


def _key(place: int, piece: int) -> int:
    return place << 24 | piece
