"""What fragments become at a threshold, told box by box: from the last box of a solved graph down to its leaves.

The last box knows what becomes of all clusters that the boxes within it handed on; each of these, told that, knows the
same for those within it. A leaf so knows the segments of all its fragments from its own piece of the dendrogram and
from what it was told: no process holds more than a box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from blockwise.arrays.volume import Volume
from blockwise.fields import Fraction
from blockwise.grid import Block
from blockwise.kernels.graph.agglomeration import cut
from blockwise.kernels.graph.boxes import tree_within
from blockwise.kernels.tables import relabel
from blockwise.stage import Stage
from blockwise.stages.agglomerate.levels import OfLevel, levels_of, within
from blockwise.stages.agglomerate.pieces import boxes_of, read_columns, read_merges
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.tables import NAMES, SEGMENT, became_of, segments_of
from blockwise.store.base import Store


class Downwards(OfLevel):
    """What the boxes of all levels have in common."""

    segmenting: str
    """The name of the stage that asks for this."""
    threshold: Fraction

    def segments(self, row: int, is_last: bool, shelf: Shelf) -> Callable[[np.ndarray], np.ndarray]:
        """What gives the segments of clusters that come up in a box."""
        merges = read_merges(self.dendrogram, row)
        tree = tree_within(merges)
        del merges
        inside = (tree.fragment, cut(tree, self.threshold))
        told = np.empty(0, SEGMENT) if is_last else shelf.get(became_of(self.segmenting), row)
        # Scores never rise on the way up: a cluster that was left alone in here is left alone above, and is not told.
        return lambda names: relabel(relabel(names, *inside), told["fragment"], told["segment"])


class Within(Downwards):
    """Tell the boxes within a box what became of the clusters that they handed on."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each level is remembered on its own."""
        return f"{self.segmenting}/{self.level}"

    def process(self, block: Block, store: Store) -> None:
        shelf, solved = Shelf(store), boxes_of(self.dendrogram)
        row = self.row(block, solved)
        segments = self.segments(row, row == len(solved) - 1, shelf)
        for inner in within(row, solved):
            (passed,) = read_columns(self.dendrogram, inner, "passed")
            became = segment_rows(passed, segments(passed))
            shelf.put(became_of(self.segmenting), inner, became[became["fragment"] != became["segment"]])


class InLeaves(Downwards):
    """Look up the segments of the fragments in each block of a leaf."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each threshold is remembered on its own."""
        return f"{self.segmenting}/leaves"

    def process(self, block: Block, store: Store) -> None:
        row = self.row(block, boxes_of(self.dendrogram))
        segments = self.segments(row, False, Shelf(store))
        (keys,) = read_columns(self.dendrogram, row, "blocks")
        for key in keys.tolist():
            names = store.get(NAMES, key)
            if names is not None:
                fragments = np.ascontiguousarray(names["fragment"])
                store.put(segments_of(self.segmenting), key, segment_rows(fragments, segments(fragments)))


def downwards(segmenting: str, dendrogram: Volume, threshold: float) -> Iterator[Stage]:
    """The substages that look up the segments of all blocks, level by level; none unless there are pieces."""
    levels = levels_of(dendrogram)
    for level in levels.numbers[::-1]:
        kind = Within if level else InLeaves
        yield kind(segmenting=segmenting, threshold=threshold, **levels.of(level))


def segment_rows(fragments: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """SEGMENT of fragments and the segment of each, sorted, each once."""
    rows = np.empty(len(fragments), SEGMENT)
    rows["fragment"] = fragments
    rows["segment"] = segments
    return np.unique(rows)


def forget(segmenting: str, store: Store) -> None:
    """Let go of what boxes told each other."""
    store.clear(became_of(segmenting).stage)
