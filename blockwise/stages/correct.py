"""Merge the region graph again, with pairs of places that must be one object and pairs that must not."""

from __future__ import annotations

import numpy as np

from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import BadInput
from blockwise.grid import Block, Grid, Voxels, as_voxels, between, pack
from blockwise.kernels.components import components, unique_pairs
from blockwise.kernels.graph.constraints import agglomerate_corrected
from blockwise.kernels.graph.rules import MergeRules
from blockwise.stage import Stage
from blockwise.stages.affinity import full_affinity
from blockwise.stages.agglomerate.region_graph import RegionGraph
from blockwise.stages.agglomerate.stage import read_dendrogram, write_dendrogram
from blockwise.stages.segment import named
from blockwise.stages.tables import JOINS
from blockwise.store.base import Store

VoxelPair = tuple[Voxels, Voxels]
"""Two voxels."""


class Correct(Stage):
    """The dendrogram as somebody who has looked at it wants it; the one of `agglomerate` stays."""

    name = "correct"
    needs = ("fragments", "edges", "agglomerate")

    affinities: Volume
    fragments: Volume
    dendrogram: Volume
    """The one without corrections."""
    target: Volume
    shape: Voxels
    block: Voxels
    """How the other stages cut the volume up."""
    settings: MergeRules
    together: tuple[VoxelPair, ...]
    """Pairs that must be one object."""
    apart: tuple[VoxelPair, ...]
    """Pairs that must not."""

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.shape)

    def parameters(self) -> dict[str, object]:
        chosen = super().parameters()
        # In one order: the result does not depend on that in which they were found.
        pairs = {key: sorted(sorted(pair) for pair in getattr(self, key)) for key in ("together", "apart")}
        return {**{key: value for key, value in chosen.items() if key not in ("block", "memory")}, **pairs}

    def check(self) -> None:
        if self.settings.statistic != "mean":
            raise BadInput(
                "corrections",
                "are possible for the mean affinity only",
                got=f"agglomerate.statistic {self.settings.statistic}",
                wanted="mean",
            )

    def process(self, block: Block, store: Store) -> None:
        nodes = read_dendrogram(self.dendrogram).fragment
        names = components(unique_pairs(store.rows(JOINS)))
        edges, _ = RegionGraph(store, names, has_histograms=False).read()
        together, apart = (self.fragments_of(pairs, store) for pairs in (self.together, self.apart))
        full = full_affinity(info(self.affinities).dtype)
        write_dendrogram(self.target, agglomerate_corrected(edges, full, self.settings, nodes, together, apart))

    def fragments_of(self, pairs: tuple[VoxelPair, ...], store: Store) -> np.ndarray:
        """(n, 2) uint64: the fragments that the pairs of places lie in; raises BadInput for background."""
        found = [[self.fragment_at(place, store) for place in pair] for pair in pairs]
        return np.array(found, np.uint64).reshape(-1, 2)

    def fragment_at(self, place: Voxels, store: Store) -> int:
        """The final number of the fragment at a voxel; raises BadInput for background."""
        index = as_voxels(at // step for at, step in zip(place, self.block, strict=True))
        block = Grid(self.name, self.shape, self.block).block_at(pack(index))
        ids = read(self.fragments, between(place, [at + 1 for at in place]))
        number = int(named(ids, block, store)[0, 0, 0])
        if number == 0:
            raise BadInput("corrections", "a place is background", got=list(place), wanted="a voxel of an object")
        return number
