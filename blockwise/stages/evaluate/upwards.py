"""The overlaps with the truth, told box by box from the leaves of a solved graph up to the last box of it.

A dendrogram that is stored as a whole is one box. Only one box is in memory at a time, with what those within it and
those still waiting have handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from blockwise.arrays.volume import Volume
from blockwise.kernels.graph.boxes import disassemble
from blockwise.kernels.scores.boxes import SolvedBox
from blockwise.kernels.tables import OVERLAP, added_up, as_overlap, merge_overlaps
from blockwise.stages.agglomerate.pieces import boxes_of, read_columns, read_merges
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.tables import OVERLAPS
from blockwise.store.base import Store


def upwards[Out, Handed](
    store: Store, dendrogram: Volume, solve: Callable[[SolvedBox, list[Handed]], tuple[Out, Handed]]
) -> Iterator[Out]:
    """What each box comes to, each after those within it. solve: a box, and what these handed on."""
    solved = boxes_of(dendrogram)
    if not len(solved):
        table = merge_overlaps([rows for _, rows in store.each(OVERLAPS)])
        yield solve(SolvedBox(table, disassemble(read_dendrogram(dendrogram))), [])[0]
        return
    waiting: dict[int, Handed] = {}
    for row in range(len(solved)):
        inner = np.flatnonzero(solved["above"] == row).tolist()
        box = _box(store, dendrogram, row, solved["level"][row] == 0, row == len(solved) - 1)
        found, waiting[row] = solve(box, [waiting.pop(one) for one in inner])
        yield found


def _box(store: Store, dendrogram: Volume, row: int, is_leaf: bool, is_last: bool) -> SolvedBox:
    tables = [np.empty(0, OVERLAP)]
    if is_leaf:
        (keys,) = read_columns(dendrogram, row, "blocks")
        tables += [rows for key in keys.tolist() if (rows := store.get(OVERLAPS, key)) is not None]
    (passed,) = read_columns(dendrogram, row, "passed")
    return SolvedBox(merge_overlaps(tables), read_merges(dendrogram, row), None if is_last else passed)


def truth_totals(store: Store) -> np.ndarray:
    """OVERLAP of all true objects with one fragment, 0: how many voxels each has."""

    def totals() -> Iterator[np.ndarray]:
        for _, rows in store.each(OVERLAPS):
            yield as_overlap(np.zeros(len(rows), np.uint64), rows["truth"], rows["voxels"])

    return added_up(totals())
