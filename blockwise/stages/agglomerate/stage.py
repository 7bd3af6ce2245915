"""Merge the region graph into one dendrogram, in an order that knows nothing about blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np
import zarr
from pydantic import Field

from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import BadInput
from blockwise.fields import Memory
from blockwise.grid import Block, Grid, Voxels
from blockwise.kernels.components import components, unique_pairs
from blockwise.kernels.graph.agglomeration import STATISTICS, Dendrogram, agglomerate, offered
from blockwise.kernels.graph.boxes import Rules
from blockwise.kernels.graph.histograms import percent_of
from blockwise.kernels.graph.reference import check_statistic, waterz_dendrogram
from blockwise.stage import Stage
from blockwise.stages.affinity import full_affinity, nearest_channels
from blockwise.stages.agglomerate import boxes
from blockwise.stages.agglomerate.region_graph import RegionGraph, put_names
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.tables import JOINS, NODES
from blockwise.store.base import Store


class Agglomerate(Stage):
    """Name the fragments for good and merge them, best edge first, down to `stop`."""

    name = "agglomerate"

    affinities: Volume
    target: Volume
    """Group of the arrays fragment, parent and score."""
    shape: Voxels
    fragments: Volume | None = None
    """Needed for waterz only."""
    block: Voxels | None = None
    """How the other stages cut the volume up; waterz wants it in one piece."""
    statistic: str = "mean"
    """What an edge between clusters is worth: mean, max or quantile_<q>, or waterz:<name> for its own merging."""
    stop: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Edges worth at most this are not merged; later thresholds must not lie below it."""
    memory: Memory | None = None
    """A graph that needs more, such as "8GB", is solved in boxes side by side; the result is the same. None: never.
    A box may take this much, beside what its process takes anyway; a worker has as many at a time as it has threads."""

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.shape)

    def parameters(self) -> dict[str, object]:
        chosen = super().parameters()
        return {key: value for key, value in chosen.items() if key not in ("fragments", "block", "memory")}

    def check(self) -> None:
        if self.statistic.startswith("waterz:"):
            check_statistic(self.statistic)
            if self.block != self.shape:
                raise BadInput(
                    "agglomerate.statistic",
                    "waterz works on a volume in one block only",
                    got=self.statistic,
                    wanted=f"blocks.shape: {list(self.shape)}",
                    todo="cut out a smaller volume, or leave waterz: away",
                )
        elif self.statistic not in STATISTICS:
            raise BadInput(
                "agglomerate.statistic",
                "no such statistic",
                got=self.statistic,
                wanted=f"{offered()}; or waterz:<name> in one block",
            )

    def substages(self, store: Store) -> Iterable[Stage]:
        if self.memory is None or self.block is None or self.statistic.startswith("waterz:"):
            return ()
        return boxes.substages(
            {**self.rules()._asdict(), "shape": self.shape, "block": self.block}, self.memory, store
        )

    def process(self, block: Block, store: Store) -> None:
        if self.memory is not None and boxes.is_solved(store):
            write_dendrogram(self.target, boxes.dendrogram(store))
            return
        names = components(unique_pairs(store.rows(JOINS)))
        nodes = put_names(store, (key for key, _ in store.each(NODES)), *names)
        if self.statistic.startswith("waterz:"):
            tree = self.reference(block, nodes)
        else:
            edges, histograms = RegionGraph(store, names, percent_of(self.statistic) > 0).read()
            tree = agglomerate(edges, *self.rules(), nodes=nodes, histograms=histograms)
        write_dendrogram(self.target, tree)

    def finish(self, store: Store) -> None:
        Shelf(store).clear()

    def rules(self) -> Rules:
        """What merges follow."""
        return Rules(full_affinity(info(self.affinities).dtype), self.statistic, self.stop)

    def reference(self, block: Block, nodes: np.ndarray) -> Dendrogram:
        """The dendrogram that waterz gives; it knows the nearest neighbours only."""
        found = info(self.affinities)
        channels = nearest_channels(self.affinities, found.offsets, per_section=False)
        affinities = read(self.affinities, block.write_roi)[channels] / np.float32(full_affinity(found.dtype))
        assert self.fragments is not None
        return waterz_dendrogram(affinities, read(self.fragments, block.write_roi), self.statistic, self.stop, nodes)


def write_dendrogram(group: Volume, tree: Dendrogram) -> None:
    """Overwrite the arrays fragment, parent and score of `group`."""
    root = zarr.open_group(group.path, mode="a", zarr_format=3)
    for name in ("fragment", "parent", "score"):
        data = getattr(tree, name)
        array = root.create_array(
            name, shape=data.shape, dtype=data.dtype, chunks=(max(1, min(len(data), 1 << 20)),), overwrite=True
        )
        array[:] = data


def read_dendrogram(group: Volume) -> Dendrogram:
    """The dendrogram stored in `group`."""
    root = zarr.open_group(group.path, mode="r")
    return Dendrogram(*(np.asarray(root[name][:]) for name in ("fragment", "parent", "score")))
