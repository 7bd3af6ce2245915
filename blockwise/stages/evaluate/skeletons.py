"""Skeletons of true objects: read from a file, and shared out to the blocks that their nodes lie in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blockwise.arrays.info import Info
from blockwise.errors import BadInput, looked_for
from blockwise.grid import Block, Grid
from blockwise.stages.evaluate.swc import read_swc
from blockwise.stages.tables import FOUND, PLACED
from blockwise.store.table import Entry

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class Skeletons:
    """One or more skeletons; every connected component is one."""

    places: np.ndarray
    """(n, 3) float64: z, y, x of the nodes in world units."""

    edges: np.ndarray
    """(m, 2) int64: rows of the two nodes."""

    skeleton: np.ndarray
    """(n,) int64: the component of each node, from 0."""

    def lengths(self) -> np.ndarray:
        """(m,) float64: length of each edge in world units."""
        ends = self.places[self.edges]
        lengths: np.ndarray = np.sqrt(((ends[:, 0] - ends[:, 1]) ** 2).sum(1))
        return lengths

    def voxels(self, space: Info) -> np.ndarray:
        """(n, 3) int64: the voxel of the volume that each node lies in; may be outside."""
        steps = np.floor((self.places - np.array(space.offset)) / np.array(space.voxel_size))
        voxels: np.ndarray = steps.astype(np.int64)
        return voxels

    def only(self, chosen: np.ndarray) -> Skeletons:
        """The nodes where `chosen` (n,) is true, and the edges between them; components keep their number."""
        row = np.cumsum(chosen) - 1
        kept = chosen[self.edges].all(1)
        return Skeletons(self.places[chosen], row[self.edges[kept]], self.skeleton[chosen])


def read_skeletons(path: Path) -> Skeletons:
    """Skeletons from a file of networkx (.graphml, nodes with z, y, x) or a .swc file, in world units.

    Raises BadInput if the file cannot be read, a node has no place, or there is no node.
    """
    readers = {".graphml": _read_graphml, ".swc": read_swc}
    if path.suffix.lower() not in readers:
        raise BadInput(path, "is not a known kind of skeleton file", got=path.suffix, wanted=" or ".join(readers))
    try:
        graph = readers[path.suffix.lower()](path)
    except BadInput:
        raise
    except FileNotFoundError:
        raise BadInput(path, "no such file", todo=f"check volume.skeletons{looked_for(path)}") from None
    except Exception as error:  # the parsers raise whatever comes up
        raise BadInput(path, f"cannot be read ({type(error).__name__}: {error})") from None
    if not len(graph):
        raise BadInput(path, "holds no nodes")
    return _from_graph(graph, path)


def nodes_by_block(voxels: np.ndarray, grid: Grid) -> Iterator[Entry]:
    """The nodes (PLACED) in the write region of each block that has some; those outside the volume in none.

    voxels: (n, 3) int64, of all nodes.
    """
    inside = np.flatnonzero(inside_volume(voxels, grid))
    z, y, x = (voxels[inside] // np.array(grid.block)).T
    keys = grid.keys()[z, y, x]
    order = np.argsort(keys, kind="stable")
    names, firsts = np.unique(keys[order], return_index=True)
    for key, rows in zip(names, np.split(inside[order], firsts[1:]), strict=False):  # no node: one empty piece
        table = np.empty(len(rows), PLACED)
        table["node"] = rows
        for axis, name in enumerate("zyx"):
            table[name] = voxels[rows, axis]
        yield Entry(int(key), table)


def inside_volume(voxels: np.ndarray, grid: Grid) -> np.ndarray:
    """(n,) bool: which voxels (n, 3) lie in the volume."""
    inside: np.ndarray = ((voxels >= 0) & (voxels < np.array(grid.volume))).all(1)
    return inside


def _read_graphml(path: Path) -> networkx.Graph[Any]:
    import networkx

    return networkx.Graph(networkx.read_graphml(path))


def _from_graph(graph: networkx.Graph[Any], path: Path) -> Skeletons:
    import networkx

    names = list(graph)
    row = {name: place for place, name in enumerate(names)}
    places = np.array([_place(name, graph.nodes[name], path) for name in names], np.float64)
    edges = [(row[one], row[other]) for one, other in graph.edges() if one != other]
    skeleton = np.empty(len(names), np.int64)
    for number, members in enumerate(networkx.connected_components(graph)):
        skeleton[[row[name] for name in members]] = number
    return Skeletons(places, np.array(edges, np.int64).reshape(-1, 2), skeleton)


def _place(name: object, attributes: dict[str, Any], path: Path) -> list[float]:
    try:
        place = [float(attributes[axis]) for axis in "zyx"]
    except (KeyError, TypeError, ValueError):
        place = [math.nan]
    if not all(map(math.isfinite, place)):
        raise BadInput(path, f"node {name} has no place", got=attributes, wanted="numbers z, y and x in world units")
    return place


def fragments_at(nodes: np.ndarray, ids: np.ndarray, block: Block) -> np.ndarray:
    """The fragment (FOUND) that each node (NODE) of a block lies in; ids: those of its write region."""
    found = np.empty(len(nodes), FOUND)
    found["node"] = nodes["node"]
    z, y, x = (nodes[axis] - begin for axis, begin in zip("zyx", block.write_roi.begin, strict=True))
    found["fragment"] = ids[z, y, x]
    return found
