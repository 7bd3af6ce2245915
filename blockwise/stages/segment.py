"""Give every fragment the number of its segment at one threshold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import field_validator

from blockwise.arrays.values import smallest_unsigned
from blockwise.arrays.volume import Volume, check_whole_shards, create, info, is_there, read, write
from blockwise.errors import BadInput, WorkFailed
from blockwise.fields import Fraction
from blockwise.files.address import remove
from blockwise.grid import Block, Grid, Voxels
from blockwise.kernels.graph.agglomeration import cut
from blockwise.kernels.graph.rules import SmallRules
from blockwise.kernels.tables import relabel
from blockwise.stage import Stage
from blockwise.stages.agglomerate.downwards import downwards, forget, segment_rows
from blockwise.stages.agglomerate.pieces import boxes_of
from blockwise.stages.agglomerate.shelf import Shelf
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.numbering import count_of, numbered, numbering
from blockwise.stages.renaming import note_renaming
from blockwise.stages.tables import NAMES, begins_of, segments_of
from blockwise.store.base import Store, mask_of

SegmentNumbers = Literal["fragment", "compact"]


class SegmentSettings(SmallRules):
    """Which segmentations are written."""

    thresholds: tuple[Fraction, ...] = (0.5,)
    """Fragments whose merge scores above a threshold are one segment: a high one splits, a low one merges."""
    numbers: SegmentNumbers = "fragment"
    """What a segment is called: by its smallest fragment, the same at all thresholds (uint64), or compact, 1 to n in
    that order, in the smallest type that holds them."""

    @field_validator("thresholds")
    @classmethod
    def each_once(cls, thresholds: tuple[float, ...]) -> tuple[float, ...]:
        if not thresholds or len({format(threshold, "g") for threshold in thresholds}) < len(thresholds):
            raise ValueError(f"thresholds must be different and at least one, got {list(thresholds)}")
        return thresholds


class Segment(Stage):
    """Relabel fragments with their segments; on the way the fragments get their final numbers.

    Several thresholds are several stages, so that a further one only relabels.
    """

    needs = ("fragments", "edges", "agglomerate", "correct", "absorb")

    fragments: Volume
    target: Volume
    dendrogram: Volume
    shape: Voxels
    block: Voxels
    threshold: Fraction
    """One of the settings' thresholds."""
    stop: Fraction
    """Where the agglomeration ended; a threshold below it cannot be had."""
    numbers: SegmentNumbers
    """As in the settings."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """The stage's word and its threshold, since each threshold is remembered on its own."""
        return f"segment/{format(self.threshold, 'g')}"

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block)

    def outputs(self) -> tuple[Volume, ...]:
        return (self.target,)

    def parameters(self) -> dict[str, object]:
        # Segments written before numbers could be compact are the same as those called by fragments.
        return {key: value for key, value in super().parameters().items() if (key, value) != ("numbers", "fragment")}

    def check(self) -> None:
        if self.threshold < self.stop:
            raise BadInput(
                "segment.thresholds",
                "a threshold lies below agglomerate.stop",
                got=self.threshold,
                wanted=f"at least {self.stop}",
                todo="raise the threshold or lower agglomerate.stop",
            )
        check_whole_shards(self.target, self.block)

    def prepare(self, store: Store) -> None:
        note_renaming(store)
        if self._is_in_boxes():
            return
        fragment, segment = self.lookup()
        for key, names in store.each(NAMES):
            store.put(segments_of(self.name), key, _rows_of(names, fragment, segment))
        self._make_target(int(segment.max(initial=0)))

    def substages(self, store: Store) -> Iterator[Stage]:
        if not self._is_in_boxes():
            return
        yield from downwards(self.name, self.dendrogram, self.threshold)
        if self.numbers == "compact":
            yield from numbering(self.name, self.grid(), store)
        self._make_target(count_of(self.name, self.grid(), store))

    def _make_target(self, largest: int) -> None:
        """Make the array, or leave it as it is. largest: number in it, if numbers are compact."""
        dtype = self._dtype(largest)
        if is_there(self.target.path) and info(self.target).dtype != dtype:
            remove(self.target.path)  # no block of it counts any more: its fingerprint is another
        create(self.target, self.shape, dtype.name, self.block, like=info(self.fragments))

    def finish(self, store: Store) -> None:
        forget(self.name, store)

    def _is_in_boxes(self) -> bool:
        """Whether fragments are looked up box by box."""
        return len(boxes_of(self.dendrogram)) > 0

    def _dtype(self, largest: int) -> np.dtype:
        """The type of the target. largest: number in it, if numbers are compact."""
        return np.dtype("uint64" if self.numbers == "fragment" else smallest_unsigned(largest))

    def lookup(self) -> tuple[np.ndarray, np.ndarray]:
        """All fragments, sorted, and the segment of each."""
        tree = read_dendrogram(self.dendrogram)
        segment = cut(tree, self.threshold)
        return tree.fragment, segment if self.numbers == "fragment" else compact(segment)

    def unchanged(self, store: Store) -> np.ndarray:
        """(counts) bool: blocks that would be the same as they are, by what the dendrogram says now."""
        fragment, segment = self.lookup()
        same: list[int] = []
        dtype = self._dtype(int(segment.max(initial=0)))
        # What was numbered layer by layer is known under other names.
        was_in_boxes = self.numbers == "compact" and Shelf(store).has(begins_of(self.name), 0)
        if was_in_boxes or not is_there(self.target.path) or info(self.target).dtype != dtype:
            return mask_of(np.array(same, np.int64), self.grid())
        for key, names in store.each(NAMES):
            old = store.get(segments_of(self.name), key)
            if old is not None and np.array_equal(old, _rows_of(names, fragment, segment)):
                same.append(key)
        return mask_of(np.array(same, np.int64), self.grid())

    def process(self, block: Block, store: Store) -> None:
        fragments = finalise(self.fragments, block, store)
        rows = store.get(segments_of(self.name), block.key)
        if rows is None:
            raise WorkFailed(f"{self.name}: block {block.key} has no names; use --redo agglomerate")
        known = np.ascontiguousarray(rows["segment"])
        if self.numbers == "compact" and self._is_in_boxes():
            known = numbered(known, self.grid(), store)
        segments = relabel(fragments, rows["fragment"], known)
        del fragments  # writing needs the memory
        write(self.target, block.write_roi, segments.astype(info(self.target).dtype, copy=False))


def _rows_of(names: np.ndarray, fragment: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """SEGMENT of the fragments of a block (NAME)."""
    return segment_rows(names["fragment"], relabel(names["fragment"], fragment, segment))


def compact(segment: np.ndarray) -> np.ndarray:
    """The segments, (n,) uint64, as 1, 2, ... in their order; 0, background, stays 0."""
    numbers, place = np.unique(segment, return_inverse=True)
    return place.astype(np.uint64) + np.uint64(0 not in numbers[:1])


def finalise(fragments: Volume, block: Block, store: Store) -> np.ndarray:
    """The block's fragments with final numbers, written back where they were still provisional.

    Naming is idempotent (a final number is its own name), so a second run changes nothing.
    """
    ids = read(fragments, block.write_roi)
    final = named(ids, block, store)
    is_new = not np.array_equal(ids, final)
    del ids  # writing needs the memory
    if is_new:
        write(fragments, block.write_roi, final)
    return final


def named(ids: np.ndarray, block: Block, store: Store) -> np.ndarray:
    """Final numbers for a block's fragments, whether they are provisional or final already."""
    names = store.get(NAMES, block.key)
    if names is None:
        raise WorkFailed(f"{block.stage}: block {block.key} has no names; use --redo agglomerate")
    return relabel(ids, names["provisional"], names["fragment"])
