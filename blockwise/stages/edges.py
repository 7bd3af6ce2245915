"""Count the affinities between touching fragments, and find which provisional fragments are one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import WorkFailed
from blockwise.grid import Block, Grid, Voxels, as_voxels, between, pack, unpack
from blockwise.kernels.components import concatenate_pairs, joins, named_after
from blockwise.kernels.graph.edges import count_edges, count_histograms, rename_edges
from blockwise.kernels.graph.histograms import rename_histograms
from blockwise.kernels.tables import distinct
from blockwise.settings import Settings
from blockwise.stage import Stage
from blockwise.stages.affinity import NEAREST, pick
from blockwise.stages.fragments import unpack_links
from blockwise.stages.renaming import note_counting
from blockwise.stages.tables import EDGES, HISTOGRAMS, JOINS, LINKS, NODE, NODES
from blockwise.store.base import Store
from blockwise.store.table import Table

RENAME: dict[Table, Callable[..., np.ndarray]] = {EDGES: rename_edges, HISTOGRAMS: rename_histograms}
"""How rows of what is counted get other numbers, adding up those that become one."""


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
        return Grid(self.name, self.shape, self.block, context_low=self.reach, context_high=(1, 1, 1))

    def unchanged_box(self, same: Voxels, store: Store) -> Voxels | None:
        if same[1:] != self.shape[1:]:
            return None
        # `fragments` has left out those that lie right behind.
        return replace(self.grid(), context_high=(0, 0, 0)).within(same)

    def prepare(self, store: Store) -> None:
        note_counting(store)

    def process(self, block: Block, store: Store) -> None:
        ids = read(self.fragments, below(block))
        margin = tuple(block.write_roi.begin - block.read_roi.begin)
        own = distinct(ids, margin)
        joined = self.joined(block, ids, margin, store)
        # A block's surface cuts fragments into many pieces, of which most hang together right behind it. Counted under
        # one number each, they make about as many edges as if the volume were one block, and not ten times as many.
        names = named_after(own, concatenate_pairs([joined, self.joined_above(block, ids, store)]))
        for table, rows in self.count(ids, block).items():
            store.put(table, block.key, RENAME[table](rows, *names), block.write_roi)
        store.put(JOINS, block.key, joined, block.write_roi)
        # Nodes, edges and joins are of one reading: redone after `segment`, the numbers found are final ones already.
        store.put(NODES, block.key, own.astype(NODE))

    def count(self, ids: np.ndarray, block: Block) -> dict[Table, np.ndarray]:
        """Edges of the block, and their histograms if these are wanted. ids: fragments in `below(block)`."""
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
        links = links_of(block, store)
        if links is None:
            raise WorkFailed(f"edges: block {block.key} has no links from fragments; use --redo fragments")
        inner = ids[margin[0] :, margin[1] :, margin[2] :]
        pairs = []
        for axis, linked in enumerate(links):
            if margin[axis] == 0 or not linked.any():
                continue
            index: list[slice | int] = [slice(start, None) for start in margin]
            index[axis] = margin[axis] - 1
            pairs.append(joins(inner.take(0, axis=axis), ids[tuple(index)], linked))
        return concatenate_pairs(pairs)

    def joined_above(self, block: Block, ids: np.ndarray, store: Store) -> np.ndarray:
        """The same across the high faces, whose links the blocks behind them know; these keep the pairs."""
        pairs = []
        for axis in range(3):
            end, size = list(block.write_roi.begin), list(block.write_roi.shape)
            end[axis], size[axis] = block.write_roi.end[axis], 1
            if end[axis] == self.shape[axis]:
                continue
            index = list(unpack(block.key))
            index[axis] += 1
            links = links_of(self.grid().block_at(pack(as_voxels(index))), store)
            # Where `plan` tries blocks they stand alone: without a neighbour there are more rows, of the same sums.
            if links is not None and links[axis].any():
                above = read(self.fragments, Roi(end, size)).take(0, axis=axis)
                last = ids.take(-1, axis=axis)[tuple(slice(-count, None) for count in above.shape)]
                pairs.append(joins(above, last, links[axis]))
        return concatenate_pairs(pairs)


def below(block: Block) -> Roi:
    """The block, and what is read before it."""
    return between(block.read_roi.begin, block.write_roi.end)


def links_of(block: Block, store: Store) -> list[np.ndarray] | None:
    """Where links of fragments go on across the three low faces of a block: bool (y, x), (z, x), (z, y); None if the
    store does not know."""
    links = store.get(LINKS, block.key)
    return None if links is None else unpack_links(links, as_voxels(block.write_roi.shape))
