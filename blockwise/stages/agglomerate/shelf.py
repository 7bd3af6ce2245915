"""Tables of the boxes of a graph, kept in the store until the dendrogram is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from funlib.geometry import Roi

from blockwise.grid import Block
from blockwise.kernels.graph.boxes import LINK, WHERE, Graph
from blockwise.kernels.graph.edges import HISTOGRAM
from blockwise.store.base import Store

TABLES = "boxes of agglomerate"
"""What the tables belong to in the store; no stage is called so."""

PART = 1 << 20
"""Rows of a table in the store; one box takes several tables."""

_REST = {"links": LINK, "bins": HISTOGRAM, "where": WHERE}


@dataclass(frozen=True)
class Shelf:
    """Rows of any length, by kind and place."""

    store: Store
    owner: str = TABLES
    """The stage with which the tables go."""

    def put(self, kind: str, place: int, rows: np.ndarray) -> None:
        """Keep rows; replaces. They are there once this has returned, all or none."""
        starts = range(0, len(rows), PART)
        for part, start in enumerate(starts):
            self.store.put_table(self._kind(kind), self._at(place, part + 1), rows[start : start + PART])
        self.store.put_table(self._kind(kind), self._at(place, 0), np.array([len(starts), rows.nbytes], np.int64))

    def get(self, kind: str, place: int, dtype: np.dtype) -> np.ndarray:
        """The rows; KeyError if there are none."""
        head = self.store.table(self._kind(kind), self._at(place, 0).key)
        if head is None:
            raise KeyError(f"{kind} {place} is not in the store; use --redo agglomerate")
        found = [self.store.table(self._kind(kind), self._at(place, part + 1).key) for part in range(int(head[0]))]
        return np.concatenate([np.empty(0, dtype), *(rows for rows in found if rows is not None)])

    def has(self, kind: str, place: int) -> bool:
        """Whether there are rows, if only an empty table of them."""
        return self.store.table(self._kind(kind), self._at(place, 0).key) is not None

    def nbytes(self, kind: str, place: int) -> int:
        """The size of the rows; 0 if there are none."""
        head = self.store.table(self._kind(kind), self._at(place, 0).key)
        return 0 if head is None else int(head[1])

    def put_graph(self, level: int, first: int, graph: Graph) -> None:
        """Keep what a box left over; replaces."""
        for kind, rows in zip(_REST, (graph.links, graph.histograms, graph.where), strict=True):
            self.put(f"{kind} {level}", first, rows)

    def graph(self, level: int, first: int) -> Graph:
        """What a box left over."""
        return Graph(*(self.get(f"{kind} {level}", first, dtype) for kind, dtype in _REST.items()))

    def graph_nbytes(self, level: int, first: int) -> int:
        """Its size."""
        return sum(self.nbytes(f"{kind} {level}", first) for kind in _REST)

    def clear(self) -> None:
        """Forget all tables."""
        self.store.clear(self.owner)

    def _kind(self, kind: str) -> str:
        return f"{TABLES}: {kind}"

    def _at(self, place: int, part: int) -> Block:
        nowhere = Roi((0, 0, 0), (1, 1, 1))
        return Block(self.owner, place << 24 | part, nowhere, nowhere)
