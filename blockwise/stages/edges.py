"""Count the affinities between touching fragments, and find which provisional fragments are one."""

from __future__ import annotations

from typing import Literal

import numpy as np

from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import WorkFailed
from blockwise.grid import Block, Grid, Voxels
from blockwise.kernels.components import concatenate_pairs, joins
from blockwise.kernels.graph.edges import count_edges, count_histograms
from blockwise.kernels.tables import distinct
from blockwise.settings import Settings
from blockwise.stage import Stage
from blockwise.stages.affinity import NEAREST, pick
from blockwise.stages.fragments import unpack_links
from blockwise.stages.renaming import note_counting
from blockwise.stages.tables import EDGES, HISTOGRAMS, JOINS, LINKS, NODE, NODES
from blockwise.store.base import Store
from blockwise.store.table import Table


class EdgeSettings(Settings):
    """How the region graph is made."""

    offsets: Literal["all", "nearest"] = "all"
    """Which affinity channels count: all of them, or the nearest neighbours only."""


class Edges(Stage):
    """Sum the affinities of every pair of fragments that touch in the block, in integers."""

    name = "edges"
    follows = True

    affinities: Volume
    fragments: Volume
    shape: Voxels
    block: Voxels
    settings: EdgeSettings
    reach: Voxels = (1, 1, 1)
    """The largest offset along each axis, in voxels."""
    per_section: bool
    """Whether the fragments were made in each section on its own."""
    histograms: bool
    """Whether the affinities of each edge are kept in bins, for statistics other than the mean."""

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block, context_low=self.reach)

    def unchanged_box(self, same: Voxels, store: Store) -> Voxels | None:
        return self.grid().within(same) if same[1:] == self.shape[1:] else None

    def prepare(self, store: Store) -> None:
        note_counting(store)

    def process(self, block: Block, store: Store) -> None:
        ids = read(self.fragments, block.read_roi)
        margin = tuple(block.write_roi.begin - block.read_roi.begin)
        for table, rows in self.count(ids, block).items():
            store.put(table, block.key, rows, block.write_roi)
        store.put(JOINS, block.key, self.joined(block, ids, margin, store), block.write_roi)
        # Nodes, edges and joins are of one reading: redone after `segment`, the numbers found are final ones already.
        store.put(NODES, block.key, distinct(ids, margin).astype(NODE))

    def count(self, ids: np.ndarray, block: Block) -> dict[Table, np.ndarray]:
        """Edges of the block, and their histograms if these are wanted. ids: fragments of the region that it reads."""
        channels, offsets = self.channels()
        affinities = pick(read(self.affinities, block.write_roi), channels)
        margin = tuple(block.write_roi.begin - block.read_roi.begin)
        counted = {EDGES: count_edges(ids, affinities, offsets, margin)}
        if self.histograms:
            counted[HISTOGRAMS] = count_histograms(ids, affinities, offsets, margin)
        return counted

    def parameters(self) -> dict[str, object]:
        # Edges counted before there were histograms are the same as those without.
        chosen = super().parameters()
        return chosen if self.histograms else {key: value for key, value in chosen.items() if key != "histograms"}

    def channels(self) -> tuple[list[int], list[Voxels]]:
        """Channel numbers and offsets that are counted; none along z if sections stand alone."""
        found = info(self.affinities).offsets
        chosen = [
            (channel, offset)
            for channel, offset in enumerate(found)
            if (self.settings.offsets == "all" or offset in NEAREST) and not (self.per_section and offset[0])
        ]
        return [channel for channel, _ in chosen], [offset for _, offset in chosen]

    def joined(self, block: Block, ids: np.ndarray, margin: tuple[int, ...], store: Store) -> np.ndarray:
        """Unique pairs of provisional fragments that continue into each other across the low faces."""
        links = store.get(LINKS, block.key)
        if links is None:
            raise WorkFailed(f"edges: block {block.key} has no links from fragments; use --redo fragments")
        inner = ids[margin[0] :, margin[1] :, margin[2] :]
        pairs = []
        for axis, linked in enumerate(unpack_links(links, inner.shape)):
            if margin[axis] == 0 or not linked.any():
                continue
            index: list[slice | int] = [slice(start, None) for start in margin]
            index[axis] = margin[axis] - 1
            pairs.append(joins(inner.take(0, axis=axis), ids[tuple(index)], linked))
        return concatenate_pairs(pairs)
