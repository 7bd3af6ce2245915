"""The substages of agglomerate for a graph that is larger than a worker's memory: boxes, side by side on all workers.

sizes    how many bytes of edges and joins each block counted, a layer of blocks at a time
borders, shared, united/1, 2 .., named/.., 2, 1
         a leaf is a group of blocks whose graph fits: the final names of what it has in common with others
leaves   final names of a leaf's fragments; the merges that can be told from its edges alone
1, 2 ..  boxes of what smaller boxes left over, until one holds everything
pieces   what was found in each box, written into the dendrogram

All that a block reads and writes are tables in the store, of the size of its box. How many leaves and levels there are
follows from what lies in the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from blockwise.arrays.volume import Volume
from blockwise.grid import Block, Grid
from blockwise.kernels.graph.boxes import join, leaf
from blockwise.kernels.graph.leaves import elsewhere, final_names
from blockwise.stages.agglomerate.borders import name_borders
from blockwise.stages.agglomerate.pieces import BoxPieces, make_room
from blockwise.stages.agglomerate.region_graph import GROWTH, Cut, RegionGraph, put_names, split
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.agglomerate.substage import Substage, place_of
from blockwise.stages.agglomerate.tree import Box, Tree, upwards
from blockwise.stages.tables import CUT, HISTOGRAMS, INSIDE, JOINS, LEAF_FRAGMENTS, SIZE, SIZES, SOLVED_BOXES, named_of
from blockwise.store.base import Store


class Sizes(Substage):
    """Look how much each block counted, one layer of blocks after the other."""

    name = "agglomerate/sizes"

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, (self.block[0], *self.shape[1:]))

    def process(self, block: Block, store: Store) -> None:
        found: dict[int, int] = {}
        # Joins are few bytes, but naming takes as much of each as merging does of an edge.
        for table in (*self.graph, JOINS):
            for key, rows in store.each(table, block.write_roi):
                found[key] = found.get(key, 0) + rows.nbytes
        counted = np.array(sorted(found.items()), np.int64).reshape(-1, 2)
        Shelf(store).put(SIZES, place_of(block), counted.ravel().view(SIZE))

    def found(self, store: Store) -> np.ndarray:
        """SIZE of all blocks, by key."""
        shelf = Shelf(store)
        return SIZES.joined([shelf.get(SIZES, layer) for layer in range(self.grid().counts[0])])


class Leaves(Substage):
    """Name the fragments of a leaf for good, and merge what can be merged there."""

    name = "agglomerate/leaves"

    def process(self, block: Block, store: Store) -> None:
        here, shelf = place_of(block), Shelf(store)
        keys = self.cut(store).keys(here)
        named = shelf.get(named_of(0), here)
        names = final_names(shelf.get(INSIDE, here), named)
        shelf.put(LEAF_FRAGMENTS, here, put_names(store, keys, *names))
        edges, histograms = RegionGraph(store, names, HISTOGRAMS in self.graph).read(keys)
        graph = leaf(edges, elsewhere(named), histograms)
        del edges, histograms
        self.solve(shelf, graph, 0, (here, here + 1))


class Joined(Substage):
    """Merge what can be merged in boxes made of smaller ones."""

    level: int
    joined: tuple[Box, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each level is remembered on its own."""
        return f"agglomerate/{self.level}"

    def process(self, block: Block, store: Store) -> None:
        shelf, box = Shelf(store), self.joined[place_of(block)]
        graph = join([shelf.rest(*one) for one in box.inner])
        self.solve(shelf, graph, self.level, (box.first, box.end))


def substages(common: dict[str, object], limit_bytes: int, store: Store, target: Volume) -> Iterator[Substage]:
    """The substages that solve a graph in boxes, each when those before are finished; none more if it fits at once.

    common: the settings that all substages share. target: the group of the dendrogram.
    """
    # How many leaves there are follows from what the blocks counted, which is known when this substage is finished.
    sizes, shelf = Sizes(**common), Shelf(store)  # type: ignore[arg-type]
    yield sizes
    found = sizes.found(store)
    leaves, spans = split(found["key"], GROWTH * found["nbytes"], limit_bytes)
    rows = Cut.rows_of(leaves)
    # With another cut what lies on the shelf belongs to other boxes. With the same one a run that was cut off goes on.
    if not shelf.has(CUT, 0) or not np.array_equal(shelf.get(CUT, 0), rows):
        shelf.clear()
    if len(leaves) < 2:
        return
    shelf.put(CUT, 0, rows)
    # The cut is part of the fingerprints of what follows: a leaf of another cut has the same number and other blocks.
    common = {**common, "plan": hashlib.sha256(rows.tobytes()).hexdigest()}
    yield from name_borders(common, len(leaves), spans, limit_bytes, shelf)
    yield Leaves(boxes=len(leaves), **common)  # type: ignore[arg-type]
    # Which boxes are joined depends on what the ones within left over, so each level is laid out when the last is
    # solved.
    tree = Tree(len(leaves))
    for level, boxes in upwards(spans, limit_bytes, shelf.rest_nbytes):
        tree.add(level, boxes)
        yield Joined(level=level, joined=boxes, boxes=len(boxes), **common)  # type: ignore[arg-type]
    solved = tree.solved()
    shelf.put(SOLVED_BOXES, 0, solved)
    make_room(target)
    # Another limit may join the boxes of the same cut in another way.
    common["plan"] = hashlib.sha256(rows.tobytes() + solved.tobytes()).hexdigest()
    yield BoxPieces(target=target, boxes=len(solved), **common)  # type: ignore[arg-type]


def is_solved(store: Store) -> bool:
    """Whether the substages have solved the graph, and written the dendrogram in pieces."""
    return Shelf(store).has(SOLVED_BOXES, 0)
