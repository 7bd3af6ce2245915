"""The dendrogram of a graph that was solved in boxes, stored as it was found: a piece for each box.

A fragment is merged into another in one box only, and what that one is merged into is told in the same box or in one
around it. So who wants to know what a few fragments become reads the pieces around their leaf and no other; whoever
wants all of it puts the pieces together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from zarr import Group

from blockwise.arrays.durable import flush
from blockwise.arrays.opening import open_group
from blockwise.arrays.volume import Volume
from blockwise.grid import Block
from blockwise.kernels.graph.agglomeration import unique
from blockwise.kernels.graph.boxes import MERGE
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.agglomerate.substage import Substage, place_of
from blockwise.stages.tables import LEAF_FRAGMENTS, SOLVED, SOLVED_BOXES, merges_of
from blockwise.store.base import Store

WHOLE = ("fragment", "parent", "score")
"""The arrays of a dendrogram that is stored as a whole."""
BOXES = "boxes"
"""The group of the pieces, one by one under their rows, and the attribute that lists the boxes: none without it."""
CHUNK = 1 << 20


class BoxPieces(Substage):
    """Write what was found in a box: its merges, and the clusters that it handed on, which the boxes around merge.

    Of a leaf also the fragments that begin in it, and the keys of its blocks.
    """

    name = "agglomerate/pieces"
    target: Volume

    def process(self, block: Block, store: Store) -> None:
        shelf, row = Shelf(store), place_of(block)
        level, first, _ = shelf.get(SOLVED_BOXES, 0)[row].tolist()
        rest = shelf.rest(level, first)
        # A fragment without an edge in here may have one outside: it is handed on too, by the place it is known by.
        columns = {"passed": unique([rest.clusters, rest.where["fragment"]])}
        del rest
        merges = shelf.get(merges_of(level), first)
        merges = merges[np.argsort(merges["child"])]
        columns |= {name: np.ascontiguousarray(merges[name]) for name in MERGE.names or ()}
        if level == 0:
            columns["fragment"] = shelf.get(LEAF_FRAGMENTS, first)
            columns["blocks"] = np.array(self.cut(store).keys(first), np.int64)
        self.write(row, columns)

    def write(self, row: int, columns: dict[str, np.ndarray]) -> None:
        """Overwrite the piece of a box; it is on the disk when this returns."""
        path = self.target.path / BOXES / str(row)
        piece = open_group(path, "w", zarr_format=3)
        for name, data in columns.items():
            write_column(piece, name, data)
        flush(self.target.path, path.rglob("*"))


def make_room(group: Volume) -> None:
    """Make the group of the pieces; those in it stay, as a run that was cut off may have written them."""
    open_group(group.path, "a", zarr_format=3).require_group(BOXES)


def write_column(group: Group, name: str, data: np.ndarray) -> None:
    """Overwrite an array (n,) of a group."""
    chunk = max(1, min(len(data), CHUNK))
    array = group.create_array(name, shape=data.shape, dtype=data.dtype, chunks=(chunk,), overwrite=True)
    array[:] = data


def list_pieces(group: Volume, solved: np.ndarray) -> None:
    """Let the dendrogram be what its pieces are, all of which are written. solved: SOLVED of all boxes."""
    root = open_group(group.path, "a", zarr_format=3)
    root.attrs[BOXES] = [list(row) for row in solved.tolist()]
    for name in WHOLE:
        if name in root:
            del root[name]
    pieces: Any = root[BOXES]
    for name in [name for name in pieces if int(name) >= len(solved)]:  # of another cut, before
        del pieces[name]


def forget_pieces(root: Group) -> None:
    """Let the dendrogram be what its arrays are."""
    root.attrs.pop(BOXES, None)
    if BOXES in root:
        del root[BOXES]


def boxes_of(group: Volume) -> np.ndarray:
    """SOLVED of all boxes, each after those within it; none if the dendrogram is stored as a whole."""
    listed: Any = open_group(group.path).attrs.get(BOXES, [])
    return np.array([tuple(row) for row in listed], SOLVED)


def read_columns(group: Volume, row: int, *names: str) -> tuple[np.ndarray, ...]:
    """Some arrays of the piece of a box."""
    piece: Any = open_group(group.path / BOXES / str(row))
    return tuple(np.asarray(piece[name][:]) for name in names)


def read_merges(group: Volume, row: int) -> np.ndarray:
    """MERGE of a box, by child."""
    names = MERGE.names or ()
    columns = read_columns(group, row, *names)
    merges = np.empty(len(columns[0]), MERGE)
    for name, data in zip(names, columns, strict=True):
        merges[name] = data
    return merges


def all_merges(group: Volume, solved: np.ndarray) -> Iterator[np.ndarray]:
    """MERGE of each box."""
    return (read_merges(group, row) for row in range(len(solved)))


def all_fragments(group: Volume, solved: np.ndarray) -> np.ndarray:
    """All fragments, sorted, each once."""
    leaves = np.flatnonzero(solved["level"] == 0).tolist()
    root: Any = open_group(group.path)
    # Filled in place, as the fragments of a whole volume may be most of what memory holds: a list of arrays to be
    # joined would take it twice.
    fragment = np.empty(sum(root[f"{BOXES}/{row}/fragment"].shape[0] for row in leaves), np.uint64)
    end = 0
    for row in leaves:
        (some,) = read_columns(group, row, "fragment")
        fragment[end : end + len(some)] = some
        end += len(some)
    fragment.sort()
    # A fragment with edges in several leaves is listed by each of them.
    is_new = np.r_[True, fragment[1:] != fragment[:-1]][: len(fragment)]
    found: np.ndarray = fragment if is_new.all() else fragment[is_new]
    return found
