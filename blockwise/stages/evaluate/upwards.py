"""Scores told box by box, from the leaves of a solved graph up to its last box, on all workers.

truths         how many voxels each true object has in the blocks of a leaf
scores/0, 1 .. what the boxes of a level add to the scores of the volume
objects/0, 1 .. the same for matched objects, at thresholds that follow from the scores

A box is given what those within it handed on. So no process holds more than a box, and the sizes of all true objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from blockwise.fields import Count, Fraction, Positive
from blockwise.grid import Block
from blockwise.kernels.graph.boxes import disassemble
from blockwise.kernels.scores.boxes import HandedOn, ScoresAdded, ScoresAsked, SolvedBox, solve_objects, solve_scores
from blockwise.kernels.scores.false_merges import FalseMerge
from blockwise.kernels.scores.matching import NO_MATCHES, Matches
from blockwise.kernels.scores.tables import Sums, Truths
from blockwise.kernels.tables import OVERLAP, added_up, as_overlap, merge_overlaps
from blockwise.stages.agglomerate.levels import BoxLevels, OfLevel, levels_of, within
from blockwise.stages.agglomerate.pieces import read_columns, read_merges
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.tables import (
    ADDED,
    ASSIGNED,
    HANDED_ON,
    MATCHED,
    OVERLAPS,
    SCORED,
    TEXT,
    TRUTHS,
    TRUTHS_IN_LEAF,
    objects_of,
)
from blockwise.store.base import Store

_SCORES = TypeAdapter(tuple[list[Sums], list[FalseMerge], Sums])
_MATCHES = TypeAdapter(list[Matches])


class LeafTruths(OfLevel):
    """Count the voxels of true objects in the blocks of a leaf."""

    name = "evaluate/truths"

    def process(self, block: Block, store: Store) -> None:
        levels = levels_of(self.dendrogram)
        row = self.row(block, levels.solved)
        Shelf(store).put(TRUTHS_IN_LEAF, row, truth_totals(_tables(store, levels, row)))


class ScoredBoxes(OfLevel):
    """Score what is merged in a box."""

    falling: tuple[Fraction, ...]
    """Thresholds, each smaller than the one before."""
    least_voxels: Positive
    false_merges: Count
    """As in the settings of evaluate."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each level is remembered on its own."""
        return f"evaluate/scores/{self.level}"

    def process(self, block: Block, store: Store) -> None:
        shelf, levels = Shelf(store), levels_of(self.dendrogram)
        row = self.row(block, levels.solved)
        wanted = ScoresAsked(read_truths(store), self.falling, self.least_voxels, self.false_merges)
        inner = [_handed_on(shelf, one) for one in within(row, levels.solved)]
        added, handed = solve_scores(_box(store, levels, row), inner, wanted)
        for table, rows in zip(HANDED_ON, (handed.clusters, handed.held, handed.fragments), strict=True):
            shelf.put(table, row, rows)
        shelf.put(ASSIGNED, row, added.assigned)
        shelf.put(ADDED, row, _as_text(_SCORES, (added.sums, added.false_merges, handed.sums)))


class MatchedBoxes(OfLevel):
    """Match the objects that end in a box."""

    thresholds: tuple[Fraction, ...]

    @property
    def name(self) -> str:  # type: ignore[override]
        """Each level is remembered on its own."""
        return f"evaluate/objects/{self.level}"

    def parameters(self) -> dict[str, object]:
        return {**super().parameters(), "thresholds": self.thresholds}

    def process(self, block: Block, store: Store) -> None:
        shelf, levels = Shelf(store), levels_of(self.dendrogram)
        row = self.row(block, levels.solved)
        handed_on = [objects_of(place) for place in range(len(self.thresholds))]
        inner = [[shelf.get(table, one) for table in handed_on] for one in within(row, levels.solved)]
        box = _box(store, levels, row)
        matches, handed = solve_objects(box, inner, read_truths(store), self.thresholds)
        for table, rows in zip(handed_on, handed, strict=True):
            shelf.put(table, row, rows)
        shelf.put(MATCHED, row, _as_text(_MATCHES, matches))


def truth_totals(tables: Iterable[np.ndarray]) -> np.ndarray:
    """OVERLAP of all true objects with one fragment, 0: how many voxels each has in these tables (OVERLAP)."""
    return added_up(as_overlap(np.zeros(len(rows), np.uint64), rows["truth"], rows["voxels"]) for rows in tables)


def leaf_totals(store: Store, levels: BoxLevels) -> np.ndarray:
    """The same of the volume, from what was counted in its leaves."""
    shelf, leaves = Shelf(store), np.flatnonzero(levels.solved["level"] == 0).tolist()
    return truth_totals(shelf.get(TRUTHS_IN_LEAF, row) for row in leaves)


def keep_truths(store: Store, truths: Truths) -> None:
    """Let all boxes know which objects are scored."""
    Shelf(store).put(TRUTHS, 0, as_overlap(np.zeros(len(truths.ids), np.uint64), truths.ids, truths.sizes))


def read_truths(store: Store) -> Truths:
    """What was kept."""
    rows = Shelf(store).get(TRUTHS, 0)
    return Truths(np.ascontiguousarray(rows["truth"]), np.ascontiguousarray(rows["voxels"]))


def scores_added(store: Store, levels: BoxLevels) -> Iterator[ScoresAdded]:
    """What each box added to the scores."""
    shelf = Shelf(store)
    for row in range(len(levels.solved)):
        sums, merges, _ = _SCORES.validate_json(shelf.get(ADDED, row).tobytes())
        yield ScoresAdded(sums, merges, shelf.get(ASSIGNED, row))


def matches_added(store: Store, levels: BoxLevels) -> list[Matches]:
    """What all boxes added to the matches, at each threshold."""
    shelf = Shelf(store)
    added = [_MATCHES.validate_json(shelf.get(MATCHED, row).tobytes()) for row in range(len(levels.solved))]
    return [sum(boxes, NO_MATCHES) for boxes in zip(*added, strict=True)]


def forget_handed_on(store: Store) -> None:
    """Let go of what boxes told each other."""
    store.clear(SCORED)


def _box(store: Store, levels: BoxLevels, row: int) -> SolvedBox:
    tables = _tables(store, levels, row) if levels.solved["level"][row] == 0 else ()
    merged = merge_overlaps([np.empty(0, OVERLAP), *tables])
    if levels.is_whole:
        return SolvedBox(merged, disassemble(read_dendrogram(levels.dendrogram)))
    (passed,) = read_columns(levels.dendrogram, row, "passed")
    is_last = row == len(levels.solved) - 1
    return SolvedBox(merged, read_merges(levels.dendrogram, row), None if is_last else passed)


def _tables(store: Store, levels: BoxLevels, row: int) -> Iterator[np.ndarray]:
    """OVERLAPS of the blocks of a leaf; of all blocks if the dendrogram is stored as a whole."""
    if levels.is_whole:
        yield from (rows for _, rows in store.each(OVERLAPS))
        return
    (keys,) = read_columns(levels.dendrogram, row, "blocks")
    yield from (rows for key in keys.tolist() if (rows := store.get(OVERLAPS, key)) is not None)


def _handed_on(shelf: Shelf, row: int) -> HandedOn:
    clusters, held, fragments = (shelf.get(table, row) for table in HANDED_ON)
    _, _, sums = _SCORES.validate_json(shelf.get(ADDED, row).tobytes())
    return HandedOn(clusters, sums, held, fragments)


def _as_text(kind: TypeAdapter[Any], value: object) -> np.ndarray:
    return np.frombuffer(kind.dump_json(value), TEXT)
