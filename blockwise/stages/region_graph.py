"""The region graph in the store: read with final numbers, and cut into leaves that fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blockwise.kernels.agglomeration import Dendrogram
from blockwise.kernels.boxes import LINK, MERGE, Graph, Rules, Span, leaf, solve_boxes, spread
from blockwise.kernels.edges import HISTOGRAM, merge_edges, rename_edges
from blockwise.kernels.histograms import rename_histograms
from blockwise.stage import Block, unpack
from blockwise.store.base import Store

PART = 1 << 20
"""Rows of a table in the store; a graph takes several tables."""

GROWTH = 8
"""Bytes needed to solve a graph for each byte of its edges and histograms as they are counted."""


@dataclass(frozen=True)
class RegionGraph:
    """What the blocks counted, under final numbers."""

    store: Store
    names: tuple[np.ndarray, np.ndarray]
    """Provisional numbers, sorted, and the final ones, of fragments that have another."""
    has_histograms: bool

    def read(self, keys: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """EDGE and HISTOGRAM rows of some blocks or of all; no HISTOGRAM for the mean."""
        edges = rename_edges(merge_edges(self._tables("edges", keys)), *self.names)
        if not self.has_histograms:
            return edges, None
        return edges, rename_histograms(np.concatenate(
            [np.empty(0, HISTOGRAM), *self._tables("histograms", keys)]
        ), *self.names)

    def _tables(self, kind: str, keys: Sequence[int] | None) -> list[np.ndarray]:
        if keys is None:
            return [table for _, table in self.store.tables(kind)]
        found = (self.store.table(kind, key) for key in keys)
        return [table for table in found if table is not None]

    def sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys of all blocks, and the bytes needed to solve the graph of each."""
        kinds = ("edges", "histograms") if self.has_histograms else ("edges",)
        found: dict[int, int] = {}
        for kind in kinds:
            for key, table in self.store.tables(kind):
                found[key] = found.get(key, 0) + GROWTH * table.nbytes
        keys = np.array(sorted(found), np.int64)
        return keys, np.array([found[key] for key in keys.tolist()], np.int64)

    def agglomerate(self, fragments: np.ndarray, rules: Rules, limit_bytes: int, place: Block) -> Dendrogram:
        """The dendrogram of a graph that is too large for memory; what is solved already is taken from the store.

        fragments: all final numbers, sorted. place: a block of the stage, for tables.
        """
        leaves, spans = split(*self.sizes(), limit_bytes)
        edges = ((at, self.read([key])[0]) for at, keys in enumerate(leaves) for key in keys.tolist())
        where = spread(fragments, edges)
        shelf = StoreShelf(self.store, place, f"boxes of {limit_bytes}", spans)
        tree = solve_boxes(spans, lambda at: leaf(*self.read(leaves[at].tolist())), where, rules, shelf)
        shelf.clear()
        return tree


def split(keys: np.ndarray, sizes: np.ndarray, limit: int) -> tuple[list[np.ndarray], list[Span]]:
    """Boxes of blocks, halved until they fit: the keys of each leaf, and all boxes, each after those within it."""
    if sizes.sum() <= limit or len(keys) < 2:
        return [keys], [(0, 1)]
    index: np.ndarray = np.stack(unpack(keys))  # type: ignore[arg-type]
    along = index[int(np.argmax(index.max(1) - index.min(1)))]
    # As much on both sides as whole layers of blocks allow, and something on each.
    layers = np.unique(along)
    below = np.array([sizes[along < layer].sum() for layer in layers[1:]])
    low = along < layers[1:][int(np.argmin(np.abs(2 * below - sizes.sum())))]
    leaves, spans = split(keys[low], sizes[low], limit)
    more, others = split(keys[~low], sizes[~low], limit)
    shifted = [(first + len(leaves), end + len(leaves)) for first, end in others]
    return [*leaves, *more], [*spans, *shifted, (0, len(leaves) + len(more))]


@dataclass(frozen=True)
class StoreShelf:
    """Results of boxes as tables, so that a run that was killed goes on with the next box."""

    store: Store
    place: Block
    kind: str
    spans: Sequence[Span]

    def has(self, span: Span) -> bool:
        return self._parts(span) is not None

    def put(self, span: Span, merges: np.ndarray, rest: Graph) -> None:
        counts = [
            self._write(name, span, rows)
            for name, rows in (("merges", merges), ("links", rest.links), ("bins", rest.histograms))
        ]
        self.store.put_table(f"{self.kind}, done", self._at(span, 0), np.array(counts))

    def merges(self, span: Span) -> np.ndarray:
        return self._read("merges", span, MERGE)

    def rest(self, span: Span) -> Graph:
        return Graph(self._read("links", span, LINK), self._read("bins", span, HISTOGRAM))

    def drop_rest(self, span: Span) -> None:
        parts = self._parts(span)
        if parts is not None and parts[1:].any():
            self.store.put_table(f"{self.kind}, done", self._at(span, 0), np.array([parts[0], 0, 0]))
            self._empty(span, {"links": parts[1], "bins": parts[2]})

    def clear(self) -> None:
        """Make all tables empty, once the dendrogram is known."""
        for span in self.spans:
            parts = self._parts(span)
            if parts is not None:
                self.store.put_table(f"{self.kind}, done", self._at(span, 0), np.empty(0, np.int64))
                self._empty(span, {"merges": parts[0], "links": parts[1], "bins": parts[2]})

    def _parts(self, span: Span) -> np.ndarray | None:
        """How many tables there are of merges, links and bins; None if the box is not solved."""
        table = self.store.table(f"{self.kind}, done", self._at(span, 0).key)
        return None if table is None or not len(table) else table

    def _at(self, span: Span, part: int) -> Block:
        key = self.spans.index(span) << 24 | part
        return Block(self.place.stage, key, self.place.read_roi, self.place.write_roi)

    def _write(self, name: str, span: Span, rows: np.ndarray) -> int:
        starts = range(0, len(rows), PART)
        for part, start in enumerate(starts):
            self.store.put_table(f"{self.kind}, {name}", self._at(span, part), rows[start : start + PART])
        return len(starts)

    def _read(self, name: str, span: Span, dtype: np.dtype) -> np.ndarray:
        parts = self._parts(span)
        count = 0 if parts is None else int(parts[("merges", "links", "bins").index(name)])
        tables = [self.store.table(f"{self.kind}, {name}", self._at(span, part).key) for part in range(count)]
        return np.concatenate([np.empty(0, dtype), *(table for table in tables if table is not None)])

    def _empty(self, span: Span, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            for part in range(count):
                self.store.put_table(f"{self.kind}, {name}", self._at(span, part), np.empty(0))
