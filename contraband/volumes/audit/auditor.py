"""Look at a finished run where blocks meet: compute it again there in one piece, and compare with what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from funlib.geometry import Roi

from blockwise.arrays.volume import info, open_array, read
from blockwise.engine.options import RunOptions
from blockwise.engine.preflight import examine, stage_word
from blockwise.errors import BadInput
from blockwise.executor import InProcess
from blockwise.grid import Block, Voxels, as_voxels, pack, unpack
from blockwise.kernels.tables import relabel
from blockwise.stage import Stage
from blockwise.stages.edges import RENAME, Edges, below
from blockwise.stages.fragments import Fragments, unpack_links
from blockwise.stages.segment import Segment
from blockwise.stages.tables import LINKS, NAME, NAMES
from blockwise.store.base import Store
from contraband.volumes.audit.differences import (
    Difference,
    fragment_differences,
    index_in,
    prediction_differences,
    table_difference,
    unequal,
)
from contraband.volumes.audit.findings import Findings, Mismatch
from contraband.volumes.audit.places import Seam, places
from contraband.volumes.belonging import find_belonging, opened_store
from contraband.volumes.line import absolute
from contraband.volumes.predict import Predict
from contraband.volumes.run import check_owner
from contraband.volumes.settings import VolumeSettings

REACH = 24
"""Voxels on each side of a place that are looked at: more than most fragments are thick, so that many are whole."""


def audit(
    settings: VolumeSettings, line: Sequence[Stage], samples: int, predicted: int, seed: int
) -> tuple[list[Seam], Findings]:
    """Compare a finished run with itself at so many places, its prediction at so many of them; writes nothing.

    Raises BadInput unless all stages of the line are finished with just these settings.
    """
    placed = [absolute(stage) for stage in line if stage.name != "evaluate"]
    belonging = find_belonging(settings)
    if belonging.lost:
        raise BadInput(settings.output, "is gone, but the store says that it is finished")
    with opened_store(settings, belonging.identity) as store:
        examine((), store, InProcess(store), RunOptions(before=placed))
        check_owner(store, belonging)
        chosen = places(placed[-1].grid(), samples, seed)
        auditor = Auditor(placed, store)
        for number, place in enumerate(chosen):
            auditor.look_at(place, number < predicted)
        auditor.look_at_bearers()
    return chosen, auditor.findings


class Auditor:
    """Holds what all places share: the stages by kind, the dendrogram cut, numbers to be looked up later."""

    def __init__(self, line: Sequence[Stage], store: Store) -> None:
        self.store = store
        self.findings = Findings()
        self.predict = [stage for stage in line if isinstance(stage, Predict)]
        self.fragments = [stage for stage in line if isinstance(stage, Fragments)]
        self.edges = [stage for stage in line if isinstance(stage, Edges)]
        self.segments = [stage for stage in line if isinstance(stage, Segment)]
        self.described = info(line[0].outputs()[0])
        self.volume = self.described.spatial
        self.seen_blocks: set[int] = set()
        self.bearers: dict[int, Voxels] = {}
        """Fragment numbers whose voxel lies outside of the window, and where they were met."""
        self.lookups = [stage.lookup() for stage in self.segments]

    def look_at(self, place: Seam, with_prediction: bool) -> None:
        """Compare everything there is at one place."""
        box = place.window(REACH, self.volume)
        for predict in self.predict if with_prediction else ():
            self.note(predict.name, box, self.compare_prediction(predict, box))
        for fragments in self.fragments:
            self.note(fragments.name, box, self.compare_fragments(fragments, box))
            self.note_links(fragments, place)
        for segment, lookup in zip(self.segments, self.lookups, strict=True):
            self.note(segment.name, box, self.compare_segments(segment, lookup, box))
        for edges in self.edges:
            index = as_voxels(at // step for at, step in zip(place.voxel, edges.grid().block, strict=True))
            if pack(index) not in self.seen_blocks:
                self.seen_blocks.add(pack(index))
                self.note_edges(edges, edges.grid().block_at(pack(index)))

    def note(self, name: str, box: Roi, differences: Sequence[Difference]) -> None:
        """Remember what was compared in a box and what was wrong."""
        self.findings.add(stage_word(name), int(np.prod(box.shape)))
        begin = as_voxels(box.begin)
        for one in differences:
            voxel = as_voxels(low + at for low, at in zip(begin, one.index, strict=True))
            self.blame(name, voxel, one.voxels, one.text)

    def blame(self, name: str, voxel: Voxels, voxels: int, text: str) -> None:
        """Remember a mismatch, with its place in the world."""
        axes = zip(voxel, self.described.voxel_size, self.described.offset, strict=True)
        world = tuple(offset + (at + 0.5) * size for at, size, offset in axes)
        self.findings.mismatches.append(Mismatch(name, voxel, world, voxels, text))

    def compare_prediction(self, stage: Predict, box: Roi) -> list[Difference]:
        """The window predicted again, with the very tiles and levels of the run; nothing of it is stored."""
        again = stage.predict(box)
        stored = np.concatenate([read(stage.target, box), *(read(one, box)[None] for one in stage.beside())])
        differences, rounded = prediction_differences(stored, again)
        self.findings.rounded += rounded
        return differences

    def compare_fragments(self, stage: Fragments, box: Roi) -> list[Difference]:
        """Final numbers against the links of all voxels of the window, computed in one piece."""
        stored = read(stage.target, box)
        begin = as_voxels(box.begin)
        ids = np.unique(stored[stored > 0])
        ids = ids[ids <= np.prod(self.volume, dtype=np.uint64)]
        _, inside = index_in(ids, begin, as_voxels(stored.shape), self.volume)
        for number in ids[~inside].tolist():
            at = np.unravel_index(int(np.argmax(stored == number)), stored.shape)
            self.bearers.setdefault(number, as_voxels(low + int(one) for low, one in zip(begin, at, strict=True)))
        return fragment_differences(stored, stage.label(box)[0], begin, self.volume)

    def note_links(self, stage: Fragments, place: Seam) -> None:
        """The bits that say which fragments go on across the faces that begin at the place."""
        grid = stage.grid()
        block = grid.block_at(pack(as_voxels(at // step for at, step in zip(place.voxel, grid.block, strict=True))))
        box = place.window(REACH, self.volume).intersect(Roi(place.voxel, (REACH,) * 3)).intersect(block.write_roi)
        table = self.store.get(LINKS, block.key)
        if table is None:
            self.blame(stage.name, place.voxel, 0, f"the store has no links of block {unpack(block.key)}")
            return
        stored = unpack_links(table, as_voxels(block.write_roi.shape))
        patch = (box - block.write_roi.begin).to_slices()
        _, computed = stage.label(box)
        for axis in place.across:
            face = stored[axis][tuple(patch[other] for other in range(3) if other != axis)]
            found = unequal(np.expand_dims(face, axis), np.expand_dims(computed[axis], axis))
            self.note(stage.name, Roi(box.begin, np.expand_dims(face, axis).shape), found)

    def compare_segments(self, stage: Segment, lookup: tuple[np.ndarray, np.ndarray], box: Roi) -> list[Difference]:
        """Segments against the dendrogram's word on the stored fragments."""
        fragments = read(stage.fragments, box)
        # A number that is no fragment of the dendrogram has no segment.
        known = np.where(np.isin(fragments, lookup[0]), fragments, np.uint64(0))
        return unequal(read(stage.target, box), relabel(known, *lookup))

    def note_edges(self, stage: Edges, block: Block) -> None:
        """The tables of a whole block against those counted from the final fragments."""
        names = self.names_around(stage, block)
        made = stage.count(read(stage.fragments, below(block)), block)
        for table, computed in made.items():
            stored = self.store.get(table, block.key)
            self.findings.add(stage.name, len(computed))
            wrong = "no table" if stored is None else table_difference(RENAME[table](stored, *names), computed)
            if wrong:
                self.blame(
                    stage.name, as_voxels(block.write_roi.begin), 0, f"{table.kind} counted in this block: {wrong}"
                )

    def names_around(self, stage: Edges, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Provisional and final numbers of all fragments that the edges of a block may join."""
        step = stage.grid().block
        low = [begin // size for begin, size in zip(block.read_roi.begin, step, strict=True)]
        high = unpack(block.key)
        reached = np.ndindex(*(last - first + 1 for first, last in zip(low, high, strict=True)))
        keys = [pack(as_voxels(first + more for first, more in zip(low, index, strict=True))) for index in reached]
        tables = [self.store.get(NAMES, key) for key in keys]
        names = np.unique(np.concatenate([np.empty(0, NAME), *(table for table in tables if table is not None)]))
        return np.ascontiguousarray(names["provisional"]), np.ascontiguousarray(names["fragment"])

    def look_at_bearers(self) -> None:
        """Each fragment bears the number of one of its own voxels: look at those outside of the windows."""
        for stage in self.fragments:
            for numbers in _batches(np.array(sorted(self.bearers), np.uint64)):
                index = np.unravel_index(numbers.astype(np.int64) - 1, self.volume)
                stored = np.asarray(open_array(stage.target).vindex[index])
                self.findings.add(stage.name, len(numbers))
                for number, other in zip(numbers.tolist(), stored.tolist(), strict=True):
                    if number != other:
                        text = f"stored {number}, but the voxel this number stands for has {other}"
                        self.blame(stage.name, self.bearers[number], 1, text)


def _batches(numbers: np.ndarray, size: int = 4096) -> Iterator[np.ndarray]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
