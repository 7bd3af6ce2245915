"""Made-up dendrograms of any size."""

from __future__ import annotations

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
