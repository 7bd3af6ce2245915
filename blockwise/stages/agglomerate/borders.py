"""Which fragments go on from leaf to leaf, and their final names: told by boxes, up to the last one and down again.

borders  what a leaf can tell alone: the numbers it has that are at home in others, and what joins inside make of them
shared   which numbers of a leaf others know, too
united   boxes, from small to large: what the fragments are called that boxes within have in common; those that go on
         outside are handed on
named    the same boxes, from the last one down: what became of these above

A box holds the numbers on the surfaces of the boxes within it, and no process those of all borders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from blockwise.grid import Block
from blockwise.kernels.components import concatenate_pairs
from blockwise.kernels.graph.boxes import Span
from blockwise.kernels.graph.leaves import NAMED, find_shared, join_inside, tell, unite
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.agglomerate.substage import Substage, place_of
from blockwise.stages.agglomerate.tree import Box, upwards
from blockwise.stages.tables import ABROAD, ASKED, EDGES, INSIDE, JOINS, NODES, named_of, shared_of, united_of
from blockwise.store.base import Store


class Borders(Substage):
    """Find the numbers of a leaf that are at home in another, and those that are joined inside."""

    name = "agglomerate/borders"

    def process(self, block: Block, store: Store) -> None:
        here, cut, shelf = place_of(block), self.cut(store), Shelf(store)
        found, pairs = [np.empty(0, np.uint64)], []
        for key in cut.keys(here):
            for table, ends in ((EDGES, ("u", "v")), (JOINS, ("u", "v")), (NODES, ("fragment",))):
                rows = store.get(table, key)
                if rows is not None:
                    found += [cut.abroad(rows[end], here) for end in ends]
                    pairs += [rows] if table is JOINS else []
        abroad = np.unique(np.concatenate(found))
        shelf.put(ABROAD, here, abroad)
        shelf.put(INSIDE, here, join_inside(concatenate_pairs(pairs)))
        # The other leaf cannot know by itself who sees its numbers.
        home = cut.home(abroad)
        shelf.send(ASKED, here, {leaf: abroad[home == leaf] for leaf in np.unique(home).tolist()})


class Shared(Substage):
    """List the numbers that a leaf has in common with others."""

    name = "agglomerate/shared"

    def process(self, block: Block, store: Store) -> None:
        here, shelf = place_of(block), Shelf(store)
        abroad = shelf.get(ABROAD, here)
        seen = [(abroad, self.cut(store).home(abroad))]
        seen += [(numbers, np.full(len(numbers), sender)) for sender, numbers in shelf.received(ASKED, here)]
        number, leaf = (np.concatenate(some) for some in zip(*seen, strict=True))
        shelf.put(shared_of(0), here, find_shared(here, number, leaf, shelf.get(INSIDE, here)))


class United(Substage):
    """Name the fragments that smaller boxes have in common."""

    level: int
    joined: tuple[Box, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each level is remembered on its own."""
        return f"agglomerate/united/{self.level}"

    def process(self, block: Block, store: Store) -> None:
        shelf, box = Shelf(store), self.joined[place_of(block)]
        rows = [shelf.get(shared_of(level), first) for level, first in box.inner]
        united, rest = unite(rows, (box.first, box.end))
        for (level, first), names in zip(box.inner, united, strict=True):
            shelf.put(united_of(level), first, names)
        shelf.put(shared_of(self.level), box.first, rest)


class Named(Substage):
    """Tell the boxes within a box the final names of what they have in common with others."""

    level: int
    joined: tuple[Box, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each level is remembered on its own."""
        return f"agglomerate/named/{self.level}"

    def process(self, block: Block, store: Store) -> None:
        shelf, box = Shelf(store), self.joined[place_of(block)]
        # What handed nothing on, as the last box, knows all names already.
        handed_on = shelf.nbytes(shared_of(self.level), box.first)
        told = shelf.get(named_of(self.level), box.first) if handed_on else np.empty(0, NAMED)
        for level, first in box.inner:
            shelf.put(named_of(level), first, tell(shelf.get(united_of(level), first), told))


def name_borders(
    common: dict[str, object], leaves: int, spans: Sequence[Span], limit_bytes: int, shelf: Shelf
) -> Iterator[Substage]:
    """The substages after which each leaf knows the final names of what it has in common with others.

    common: the settings that all substages share. spans: all boxes that may be formed.
    """
    yield Borders(boxes=leaves, **common)  # type: ignore[arg-type]
    yield Shared(boxes=leaves, **common)  # type: ignore[arg-type]
    levels = []
    for level, boxes in upwards(spans, limit_bytes, lambda below, first: shelf.nbytes(shared_of(below), first)):
        yield United(level=level, joined=boxes, boxes=len(boxes), **common)  # type: ignore[arg-type]
        levels.append((level, boxes))
    for level, boxes in reversed(levels):
        yield Named(level=level, joined=boxes, boxes=len(boxes), **common)  # type: ignore[arg-type]
