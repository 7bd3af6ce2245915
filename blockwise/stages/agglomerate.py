"""Merge the region graph into one dendrogram, in an order that knows nothing about blocks."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import zarr
from pydantic import Field

from blockwise.errors import BadInput
from blockwise.kernels.agglomeration import Dendrogram, agglomerate
from blockwise.kernels.edges import merge_edges, rename_edges
from blockwise.kernels.watershed import components, concatenate_pairs
from blockwise.stage import Block, Grid, Stage
from blockwise.stages.affinity import full_affinity
from blockwise.store.base import Store
from blockwise.volume import Volume, Voxels, info

NAME = np.dtype([("provisional", "<u8"), ("fragment", "<u8")])


class Agglomerate(Stage):
    """Name the fragments for good and merge them, best edge first, down to `stop`."""

    name = "agglomerate"

    affinities: Volume
    target: Volume
    """Group of the arrays fragment, parent and score."""
    shape: Voxels
    statistic: str = "mean"
    """What an edge between clusters is worth."""
    stop: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Edges worth at most this are not merged; later thresholds must not lie below it."""

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.shape)

    def check(self) -> None:
        if self.statistic != "mean":
            raise BadInput(
                "agglomerate.statistic", "no such statistic", got=self.statistic, wanted="mean"
            )

    def process(self, block: Block, store: Store) -> None:
        provisional, final = components(concatenate_pairs([table for _, table in store.tables("joins")]))
        nodes = self.rename_nodes(store, provisional, final)
        edges = rename_edges(merge_edges([table for _, table in store.tables("edges")]), provisional, final)
        full = full_affinity(info(self.affinities).dtype)
        write_dendrogram(
            self.target, agglomerate(edges, full, statistic=self.statistic, stop=self.stop, nodes=nodes)
        )

    def rename_nodes(self, store: Store, provisional: np.ndarray, final: np.ndarray) -> np.ndarray:
        """Write each block's table from provisional to final numbers; all final numbers, sorted."""
        everything = []
        for key, table in store.tables("nodes"):
            names = np.empty(len(table), NAME)
            names["provisional"] = table["fragment"]
            names["fragment"] = lookup(table["fragment"], provisional, final)
            store.put_table("names", self.place(key), names)
            everything.append(names["fragment"][names["fragment"] == names["provisional"]])
        return np.unique(np.concatenate(everything)) if everything else np.zeros(0, "<u8")

    def place(self, key: int) -> Block:
        """The block of the graph that `key` names; only its key matters for a table."""
        return Block(self.name, key, *(self.grid().block_at(0).write_roi,) * 2)


def lookup(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """`values` with those found in the sorted `old` replaced by their `new`; the others stay."""
    if not len(old):
        return values.copy()
    place = np.minimum(np.searchsorted(old, values), len(old) - 1)
    return np.where(old[place] == values, new[place], values)


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
