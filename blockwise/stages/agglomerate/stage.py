"""Merge the region graph into one dendrogram, in an order that knows nothing about blocks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from blockwise.arrays.opening import open_group
from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import BadInput
from blockwise.fields import MemoryLimit
from blockwise.grid import Block, Grid, Voxels
from blockwise.kernels.components import components, unique_pairs
from blockwise.kernels.graph.agglomeration import Dendrogram, agglomerate
from blockwise.kernels.graph.boxes import assemble
from blockwise.kernels.graph.climbing import Ancestry, gather_ancestry, read_ancestry
from blockwise.kernels.graph.reference import waterz_dendrogram
from blockwise.kernels.graph.rules import MergeRules
from blockwise.stage import Stage
from blockwise.stages.affinity import full_affinity, nearest_channels
from blockwise.stages.agglomerate import boxes
from blockwise.stages.agglomerate.pieces import (
    WHOLE,
    all_fragments,
    all_merges,
    boxes_of,
    forget_pieces,
    list_pieces,
    write_column,
)
from blockwise.stages.agglomerate.region_graph import RegionGraph, put_names
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.tables import JOINS, NODES, SOLVED_BOXES
from blockwise.store.base import Store


class AgglomerateSettings(MergeRules):
    """How fragments are merged."""

    memory: MemoryLimit | None = "auto"
    """A graph that needs more, such as "8GB", is solved in boxes side by side; the result is the same. A box may take
    this much, on top of what its process takes anyway; a worker has as many at a time as threads. auto: half of a
    worker's memory (of 4 GB at a scheduler's address, if cluster.memory does not say), shared by its threads. null:
    never."""


class Agglomerate(Stage):
    """Name the fragments for good and merge them, best edge first, down to `stop`."""

    name = "agglomerate"

    affinities: Volume
    target: Volume
    """Group of the arrays fragment, parent and score, or of pieces of them."""
    shape: Voxels
    fragments: Volume | None = None
    """Needed for waterz only."""
    block: Voxels | None = None
    """How the other stages cut the volume up; waterz wants it in one piece."""
    settings: AgglomerateSettings

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.shape)

    def parameters(self) -> dict[str, object]:
        chosen = super().parameters()
        return {key: value for key, value in chosen.items() if key not in ("fragments", "block", "memory")}

    def check(self) -> None:
        if self.settings.statistic.of_waterz and self.block != self.shape:
            raise BadInput(
                "agglomerate.statistic",
                "waterz works on a volume in one block only",
                got=self.settings.statistic,
                wanted=f"blocks.shape: {list(self.shape)}",
                todo="cut out a smaller volume, or leave waterz: out",
            )

    def substages(self, store: Store) -> Iterable[Stage]:
        limit = self.limit_bytes
        if limit is None or self.block is None or self.settings.statistic.of_waterz:
            return ()
        common = {"full": self.full(), "rules": self.settings, "shape": self.shape, "block": self.block}
        return boxes.substages(common, limit, store, self.target)

    def process(self, block: Block, store: Store) -> None:
        if self.limit_bytes is not None and boxes.is_solved(store):
            list_pieces(self.target, Shelf(store).get(SOLVED_BOXES, 0))
            return
        names = components(unique_pairs(store.rows(JOINS)))
        nodes = put_names(store, (key for key, _ in store.each(NODES)), *names)
        if self.settings.statistic.of_waterz:
            tree = self.reference(block, nodes)
        else:
            edges, histograms = RegionGraph(store, names, self.settings.statistic.percent > 0).read()
            tree = agglomerate(edges, self.full(), self.settings, nodes, histograms)
        write_dendrogram(self.target, tree)

    def finish(self, store: Store) -> None:
        Shelf(store).clear()

    @property
    def limit_bytes(self) -> int | None:
        """What the graph may take in one process, if that is told; who lays out the line says what `auto` is."""
        return None if self.settings.memory == "auto" else self.settings.memory

    def full(self) -> int:
        """The stored affinity that scores 1."""
        return full_affinity(info(self.affinities).dtype)

    def reference(self, block: Block, nodes: np.ndarray) -> Dendrogram:
        """The dendrogram that waterz gives; it knows the nearest neighbours only."""
        found = info(self.affinities)
        channels = nearest_channels(self.affinities, found.offsets, per_section=False)
        affinities = read(self.affinities, block.write_roi)[channels] / np.float32(full_affinity(found.dtype))
        assert self.fragments is not None
        return waterz_dendrogram(affinities, read(self.fragments, block.write_roi), self.settings, nodes)


def write_dendrogram(group: Volume, tree: Dendrogram) -> None:
    """Overwrite the arrays fragment, parent and score of `group`."""
    root = open_group(group.path, "a", zarr_format=3)
    for name in WHOLE:
        write_column(root, name, getattr(tree, name))
    forget_pieces(root)


def read_dendrogram(group: Volume) -> Dendrogram:
    """The dendrogram stored in `group`, as a whole or in pieces: 24 bytes a fragment."""
    solved = boxes_of(group)
    if len(solved):
        return assemble(all_fragments(group, solved), all_merges(group, solved))
    root = open_group(group.path)
    return Dendrogram(*(np.asarray(root[name][:]) for name in WHOLE))


def read_ancestry_of(group: Volume) -> Ancestry:
    """The dendrogram stored in `group`, made ready to look up single fragments; never in memory as a whole."""
    solved = boxes_of(group)
    if len(solved):
        return gather_ancestry(all_fragments(group, solved), all_merges(group, solved))
    root = open_group(group.path)
    return read_ancestry(root["fragment"].shape[0], lambda name, rows: np.asarray(root[name][rows]))
