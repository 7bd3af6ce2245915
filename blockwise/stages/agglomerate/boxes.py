"""The substages of agglomerate for a graph that is larger than a worker's memory: boxes, side by side on all workers.

sizes    how many bytes of edges each block counted, a layer of blocks at a time
borders  a leaf is a group of blocks whose graph fits: the numbers it has in common with others
names    one block: which of these numbers are one fragment, and in which leaves it is
leaves   final names of a leaf's fragments; the merges that can be told from its edges alone
1, 2 ..  boxes of what smaller boxes left over, until one holds everything
pieces   what was found in each box, written into the dendrogram

All that a block reads and writes are tables in the store, of the size of its box, but for `names`: of the size of
all borders between leaves. How many leaves and levels there are follows from what lies in the store.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
from pydantic import ConfigDict, Field

from blockwise.arrays.volume import Volume
from blockwise.grid import Block, Grid
from blockwise.kernels.components import concatenate_pairs
from blockwise.kernels.graph.boxes import Span, group, join, leaf
from blockwise.kernels.graph.leaves import elsewhere, final_names, find_roots, join_inside, shared, unite
from blockwise.settings import Settings
from blockwise.stages.agglomerate.pieces import BoxPieces, make_room
from blockwise.stages.agglomerate.region_graph import GROWTH, Cut, RegionGraph, put_names, split
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.agglomerate.substage import Substage, place_of
from blockwise.stages.tables import (
    ABROAD,
    CUT,
    EDGES,
    HISTOGRAMS,
    INSIDE,
    JOINS,
    LEAF_FRAGMENTS,
    NAMED_OUTSIDE,
    NODES,
    SIZE,
    SIZES,
    SOLVED,
    SOLVED_BOXES,
)
from blockwise.store.base import Store

log = logging.getLogger(__name__)

NONE = -1
"""The last box is in no larger one."""
LEFT = 6
"""Bytes needed to solve a box for each byte that the boxes in it left over."""


class Sizes(Substage):
    """Look how much each block counted, one layer of blocks after the other."""

    name = "agglomerate/sizes"

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, (self.block[0], *self.shape[1:]))

    def process(self, block: Block, store: Store) -> None:
        found: dict[int, int] = {}
        for table in self.graph:
            for key, rows in store.each(table, block.write_roi):
                found[key] = found.get(key, 0) + rows.nbytes
        counted = np.array(sorted(found.items()), np.int64).reshape(-1, 2)
        Shelf(store).put(SIZES, place_of(block), counted.ravel().view(SIZE))

    def found(self, store: Store) -> np.ndarray:
        """SIZE of all blocks, by key."""
        shelf = Shelf(store)
        return SIZES.joined([shelf.get(SIZES, layer) for layer in range(self.grid().counts[0])])


class Borders(Substage):
    """Find the numbers of a leaf that are at home in another, and those that are joined inside."""

    name = "agglomerate/borders"

    def process(self, block: Block, store: Store) -> None:
        here, cut = place_of(block), self.cut(store)
        abroad, pairs = [np.empty(0, np.uint64)], []
        for key in cut.keys(here):
            for table, ends in ((EDGES, ("u", "v")), (JOINS, ("u", "v")), (NODES, ("fragment",))):
                rows = store.get(table, key)
                if rows is not None:
                    abroad += [cut.abroad(rows[end], here) for end in ends]
                    pairs += [rows] if table is JOINS else []
        Shelf(store).put(ABROAD, here, np.unique(np.concatenate(abroad)))
        Shelf(store).put(INSIDE, here, join_inside(concatenate_pairs(pairs)))


class Names(Substage):
    """Tell each leaf the final numbers of the fragments that it has in common with others."""

    name = "agglomerate/names"
    leaves: int

    def process(self, block: Block, store: Store) -> None:
        cut, shelf = self.cut(store), Shelf(store)
        abroad = [shelf.get(ABROAD, at) for at in range(self.leaves)]
        rows = [find_roots(numbers, shelf.get(INSIDE, at)) for at, numbers in enumerate(shared(abroad, cut.home))]
        for at, named in enumerate(unite(rows)):
            shelf.put(NAMED_OUTSIDE, at, named)


class Leaves(Substage):
    """Name the fragments of a leaf for good, and merge what can be merged there."""

    name = "agglomerate/leaves"

    def process(self, block: Block, store: Store) -> None:
        here, shelf = place_of(block), Shelf(store)
        keys = self.cut(store).keys(here)
        named = shelf.get(NAMED_OUTSIDE, here)
        names = final_names(shelf.get(INSIDE, here), named)
        shelf.put(LEAF_FRAGMENTS, here, put_names(store, keys, *names))
        edges, histograms = RegionGraph(store, names, HISTOGRAMS in self.graph).read(keys)
        graph = leaf(edges, elsewhere(named), histograms)
        del edges, histograms
        self.solve(shelf, graph, 0, (here, here + 1))


class Box(Settings):
    """A box, and the smaller ones that it is made of: their levels and first leaves."""

    model_config = ConfigDict(serialize_by_alias=True)

    first: int
    end: int
    inner: tuple[tuple[int, int], ...] = Field(serialization_alias="parts")  # as the fingerprints in stores have it


class Tree:
    """All boxes, each after those within it."""

    def __init__(self, leaves: int) -> None:
        self._rows = [(0, at, NONE) for at in range(leaves)]
        self._places = {(0, at): at for at in range(leaves)}

    def add(self, level: int, boxes: Sequence[Box]) -> None:
        """The boxes of the next level."""
        for box in boxes:
            for inner in box.inner:
                self._rows[self._places[inner]] = (*inner, len(self._rows))
            self._places[level, box.first] = len(self._rows)
            self._rows.append((level, box.first, NONE))

    def solved(self) -> np.ndarray:
        """SOLVED of all."""
        return np.array(self._rows, SOLVED)


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
        graph = join([shelf.graph(*one) for one in box.inner])
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
    yield Borders(boxes=len(leaves), **common)  # type: ignore[arg-type]
    yield Names(leaves=len(leaves), **common)  # type: ignore[arg-type]
    yield Leaves(boxes=len(leaves), **common)  # type: ignore[arg-type]
    # Which boxes are joined depends on what the ones within left over, so each level is laid out when the last is
    # solved.
    tree = Tree(len(leaves))
    for level, boxes in upwards(shelf, spans, limit_bytes):
        tree.add(level, boxes)
        yield Joined(level=level, joined=boxes, boxes=len(boxes), **common)  # type: ignore[arg-type]
    solved = tree.solved()
    shelf.put(SOLVED_BOXES, 0, solved)
    make_room(target)
    # Another limit may join the boxes of the same cut in another way.
    common["plan"] = hashlib.sha256(rows.tobytes() + solved.tobytes()).hexdigest()
    yield BoxPieces(target=target, boxes=len(solved), **common)  # type: ignore[arg-type]


def upwards(shelf: Shelf, spans: Sequence[Span], limit_bytes: int) -> Iterator[tuple[int, tuple[Box, ...]]]:
    """The levels above the leaves, each when the one before is solved, and their boxes."""
    waiting = [(0, span) for span in spans if span[1] - span[0] == 1]
    for level in count(1):
        if len(waiting) == 1:
            return
        # By now most edges are merged: what is left tells the memory needed, blocks would tell far too much.
        needs = [LEFT * shelf.graph_nbytes(below, span[0]) for below, span in waiting]
        boxes = []
        for places in group([span for _, span in waiting], needs, spans, limit_bytes):
            members = [waiting[at] for at in places]
            needed = sum(needs[at] for at in places)
            # These are the fewest boxes that can be joined, and the need is an estimate: to try is better than to give
            # up.
            if needed > limit_bytes:
                log.warning(
                    "agglomerate: a box of level %d needs about %d MB, more than agglomerate.memory allows",
                    level,
                    needed >> 20,
                )
            boxes.append(
                Box(
                    first=members[0][1][0],
                    end=members[-1][1][1],
                    inner=tuple((below, span[0]) for below, span in members),
                )
            )
        yield level, tuple(boxes)
        # A box takes the place of those within; all others wait on, in the order of leaves that `group` wants.
        gone = {one for box in boxes for one in box.inner}
        kept = [one for one in waiting if (one[0], one[1][0]) not in gone]
        waiting = sorted([*kept, *((level, (box.first, box.end)) for box in boxes)], key=lambda one: one[1])


def is_solved(store: Store) -> bool:
    """Whether the substages have solved the graph, and written the dendrogram in pieces."""
    return Shelf(store).has(SOLVED_BOXES, 0)
