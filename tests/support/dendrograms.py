"""Made-up dendrograms of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockwise.kernels.graph.agglomeration import Dendrogram
from blockwise.kernels.graph.climbing import Ancestry, read_ancestry


def random_dendrogram(count: int, seed: int, reach: int) -> Dendrogram:
    """`count` fragments whose parents are at most `reach` rows before them; a small reach gives long ways up.

    Scores lie in [0, 1] and never rise on a way up; one row in about fifty is a root.
    """
    random = np.random.default_rng(seed)
    rows = np.arange(count, dtype=np.int64)
    parent = rows - random.integers(1, reach + 1, count)
    parent = np.where((parent < 0) | (random.random(count) < 0.02), rows, parent)
    fragment = np.cumsum(random.integers(1, 9, count)).astype(np.uint64)
    # A number that grows with the row cannot rise on the way to a smaller one.
    score = np.where(parent == rows, 0.0, np.sort(random.random(count)))
    return Dendrogram(fragment, fragment[parent], score)


def ancestry(tree: Dendrogram) -> Ancestry:
    """The ancestry of a dendrogram in memory."""
    return read_ancestry(len(tree.fragment), lambda name, rows: getattr(tree, name)[rows])


@dataclass(frozen=True)
class HashedDendrogram:
    """The like of a random one, but each row can be made alone, so that a large one takes no memory."""

    count: int
    reach: int
    """How many rows a parent is away at most."""
    roots: float
    """Which share of the rows is none's child; few, and a small reach, give long ways up."""

    def ancestry(self) -> Ancestry:
        """Made a piece at a time, as from a file."""
        return read_ancestry(self.count, self._load)

    def fragment(self, rows: np.ndarray) -> np.ndarray:
        """(n,) uint64: their numbers, which grow with the row."""
        return (8 * rows + 1 + (8 * _hashed(rows, 1)).astype(np.int64)).astype(np.uint64)

    def segments_of(self, rows: np.ndarray, threshold: float) -> np.ndarray:
        """(n,) uint64: the numbers of their segments, found by going up one merge at a time."""
        at = rows.copy()
        moving = np.arange(len(rows))
        while len(moving := moving[self._score(at[moving]) > threshold]):
            at[moving] = self._parent(at[moving])
        return self.fragment(at)

    def _parent(self, rows: np.ndarray) -> np.ndarray:
        parent = rows - 1 - (self.reach * _hashed(rows, 2)).astype(np.int64)
        return np.where((parent < 0) | (_hashed(rows, 3) < self.roots), rows, parent)

    def _score(self, rows: np.ndarray) -> np.ndarray:
        return np.where(self._parent(rows) == rows, 0.0, (rows + _hashed(rows, 4)) / self.count)

    def _load(self, name: str, rows: slice) -> np.ndarray:
        whole = np.arange(rows.start, rows.stop)
        if name == "score":
            return self._score(whole)
        return self.fragment(whole if name == "fragment" else self._parent(whole))


def _hashed(rows: np.ndarray, salt: int) -> np.ndarray:
    """(n,) float64 in [0, 1), as if random (splitmix64)."""
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt << 40)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) * 2.0**-64 * (1 - 2.0**-53)
