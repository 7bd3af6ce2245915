"""The region graph in the store: read with final numbers, and cut into leaves that fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from blockwise.grid import Grid, unpack
from blockwise.kernels.graph.boxes import Span
from blockwise.kernels.graph.edges import merge_edges, rename_edges
from blockwise.kernels.graph.histograms import rename_histograms
from blockwise.kernels.tables import relabel
from blockwise.stages.tables import EDGES, HISTOGRAMS, LEAF, NAME, NAMES, NODES
from blockwise.store.base import Store
from blockwise.store.table import Table

GROWTH = 8
"""Bytes needed to name and solve a graph for each byte of its edges, histograms and joins as they are counted."""


@dataclass(frozen=True)
class RegionGraph:
    """What the blocks counted, under final numbers."""

    store: Store
    names: tuple[np.ndarray, np.ndarray]
    """Provisional numbers, sorted, and the final ones, of fragments that have another."""
    has_histograms: bool

    def read(self, keys: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """EDGE and HISTOGRAM rows of some blocks or of all; no HISTOGRAM for the mean."""
        edges = rename_edges(merge_edges(self._pieces(EDGES, keys)), *self.names)
        if not self.has_histograms:
            return edges, None
        histograms = HISTOGRAMS.joined(self._pieces(HISTOGRAMS, keys))
        return edges, rename_histograms(histograms, *self.names)

    def _pieces(self, table: Table, keys: Sequence[int] | None) -> list[np.ndarray]:
        if keys is None:
            return [rows for _, rows in self.store.each(table)]
        found = (self.store.get(table, key) for key in keys)
        return [rows for rows in found if rows is not None]


def split(keys: np.ndarray, sizes: np.ndarray, limit: int) -> tuple[list[np.ndarray], list[Span]]:
    """Boxes of blocks, halved until they fit: the keys of each leaf, and all boxes, each after those within it."""
    if sizes.sum() <= limit or len(keys) < 2:
        return [keys], [(0, 1)]
    index: np.ndarray = np.stack(unpack(keys))
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
class Cut:
    """How the blocks are dealt out to leaves."""

    rows: np.ndarray
    """LEAF, sorted by key."""
    blocks: Grid

    @staticmethod
    def rows_of(leaves: Sequence[np.ndarray]) -> np.ndarray:
        """LEAF of the keys of each leaf."""
        rows = np.empty(sum(map(len, leaves)), LEAF)
        rows["key"] = np.concatenate([np.empty(0, np.int64), *leaves])
        rows["leaf"] = np.repeat(np.arange(len(leaves)), [len(keys) for keys in leaves])
        ordered: np.ndarray = rows[np.argsort(rows["key"])]
        return ordered

    def keys(self, leaf: int) -> list[int]:
        """The blocks of a leaf."""
        chosen: list[int] = self.rows["key"][self.rows["leaf"] == leaf].tolist()
        return chosen

    def home(self, numbers: np.ndarray) -> np.ndarray:
        """The leaf that each number is at home in."""
        found: np.ndarray = self.rows["leaf"][np.searchsorted(self.rows["key"], self.blocks.homes(numbers))]
        return found

    def abroad(self, numbers: np.ndarray, leaf: int) -> np.ndarray:
        """Those of the numbers that are at home in another leaf, sorted, each once."""
        some = np.unique(numbers)
        away: np.ndarray = some[self.home(some) != leaf]
        return away


def put_names(store: Store, keys: Iterable[int], old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Write the table from provisional to final numbers of each block; the fragments that begin there, sorted.

    old, new: numbers that have another final one, sorted, and the final ones.
    """
    everything = [np.empty(0, "<u8")]
    for key in keys:
        nodes = store.get(NODES, key)
        if nodes is None:
            continue
        names = np.empty(len(nodes), NAME)
        names["provisional"] = nodes["fragment"]
        names["fragment"] = relabel(nodes["fragment"], old, new)
        store.put(NAMES, key, names)
        everything.append(names["fragment"][names["fragment"] == names["provisional"]])
    return np.unique(np.concatenate(everything))
