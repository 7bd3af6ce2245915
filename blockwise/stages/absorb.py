"""Join segments that are too small to be objects with what they touch, before any is written."""

from __future__ import annotations

import numpy as np

from blockwise.arrays.volume import Volume, read
from blockwise.grid import Block, Grid, Voxels
from blockwise.kernels.graph.absorbing import absorb
from blockwise.kernels.graph.edges import rename_ends
from blockwise.kernels.graph.rules import SmallRules
from blockwise.kernels.tables import count_overlap, relabel
from blockwise.stage import Stage
from blockwise.stages.agglomerate.stage import read_dendrogram, write_dendrogram
from blockwise.stages.renaming import final_numbers
from blockwise.stages.tables import EDGES, FRAGMENT_VOXELS, VOXELS
from blockwise.store.base import Store


class Absorb(Stage):
    """Count the voxels of each fragment; at the end, write the dendrogram without small segments.

    What follows cuts segments from it, so they, their scores, tables and pictures agree at every threshold. The edges
    between small clusters and others are in the memory of one process meanwhile, whatever `agglomerate.memory` says.
    """

    name = "absorb"
    needs = ("fragments", "edges", "agglomerate", "correct")

    fragments: Volume
    dendrogram: Volume
    """The one with small segments; it stays."""
    target: Volume
    shape: Voxels
    block: Voxels
    settings: SmallRules

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block)

    def process(self, block: Block, store: Store) -> None:
        # Under whatever numbers they have on disk, provisional or final: sums do not mind.
        ids = read(self.fragments, block.write_roi)
        counted = count_overlap(ids, np.zeros(ids.shape, np.uint8))
        rows = np.empty(len(counted), VOXELS)
        rows["fragment"], rows["voxels"] = counted["fragment"], counted["voxels"]
        store.put(FRAGMENT_VOXELS, block.key, rows[rows["fragment"] > 0])

    def finish(self, store: Store) -> None:
        tree = read_dendrogram(self.dendrogram)
        names = final_numbers(store)
        voxels = np.zeros(len(tree.fragment), np.int64)
        for _, rows in store.each(FRAGMENT_VOXELS):
            final = relabel(np.ascontiguousarray(rows["fragment"]), *names)
            np.add.at(voxels, np.searchsorted(tree.fragment, final), rows["voxels"].astype(np.int64))
        edges = (rename_ends(rows, *names) for _, rows in store.each(EDGES))
        write_dendrogram(self.target, absorb(tree, voxels, edges, self.settings))
