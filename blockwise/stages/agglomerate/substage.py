"""What the small stages that solve a region graph in boxes have in common."""

from __future__ import annotations

from blockwise.grid import Block, Grid, Voxels, unpack
from blockwise.kernels.graph.boxes import Graph, Span, solve_box
from blockwise.kernels.graph.rules import MergeRules
from blockwise.stage import Stage
from blockwise.stages.agglomerate.region_graph import Cut
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.tables import CUT, EDGES, HISTOGRAMS, merges_of
from blockwise.store.base import Store
from blockwise.store.table import Table


class Substage(Stage):
    """What all substages know of agglomerate."""

    version = 2
    """2: what boxes leave over names clusters by their rows."""

    shape: Voxels
    block: Voxels
    """The blocks that edges were counted in."""
    full: int
    """The affinity that scores 1."""
    rules: MergeRules
    """What merges follow: the settings of agglomerate."""
    boxes: int = 1
    """Blocks of this substage."""
    plan: str = ""
    """A digest of which block is in which leaf."""

    def grid(self) -> Grid:
        return Grid(self.name, (self.boxes, 1, 1), (1, 1, 1))

    def parameters(self) -> dict[str, object]:
        # How agglomerate is set is in its own fingerprint, on which its substages depend.
        return {key: value for key, value in super().parameters().items() if key in ("boxes", "plan", "joined")}

    @property
    def graph(self) -> tuple[Table, ...]:
        """The tables that the graph is made of."""
        return (EDGES, HISTOGRAMS) if self.rules.statistic.percent else (EDGES,)

    def cut(self, store: Store) -> Cut:
        """Which block is in which leaf."""
        return Cut(Shelf(store).get(CUT, 0), Grid(self.name, self.shape, self.block))

    def solve(self, shelf: Shelf, graph: Graph, level: int, span: Span) -> None:
        """Merge what can be merged in a box, and keep it with what is left over."""
        merges, rest = solve_box(graph, span, self.full, self.rules)
        shelf.put(merges_of(level), span[0], merges)
        shelf.put_rest(level, span[0], rest)


def place_of(block: Block) -> int:
    """The place of a block of a substage."""
    return unpack(block.key)[0]
