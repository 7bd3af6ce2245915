"""Score the segmentation against the truth, at every threshold, from sparse tables of what they share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from pydantic import Field

from blockwise.arrays.placement import box_in_words
from blockwise.arrays.values import KINDS_OF_LABELS, as_integers, unlabelled
from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import BadInput, WorkFailed
from blockwise.fields import Count, Fraction, Positive
from blockwise.files.whole import write_json
from blockwise.grid import Block, Grid, Voxels
from blockwise.kernels.scores.boxes import ScoresAdded, ScoresAsked, together
from blockwise.kernels.scores.false_merges import FalseMerge
from blockwise.kernels.scores.matching import Matching, matching
from blockwise.kernels.scores.run_length import Paths, RunLength, run_lengths
from blockwise.kernels.scores.tables import Scores, Truths, finished, sums_of, truths_of
from blockwise.kernels.tables import OVERLAP, count_overlap
from blockwise.settings import Settings
from blockwise.stage import Stage
from blockwise.stages.agglomerate.levels import levels_of
from blockwise.stages.evaluate.best import best_at_end, best_row
from blockwise.stages.evaluate.contacts import contacts
from blockwise.stages.evaluate.members import tree_above
from blockwise.stages.evaluate.placing import check_place, doubt_of_place
from blockwise.stages.evaluate.skeletons import fragments_at, nodes_by_block, read_skeletons
from blockwise.stages.evaluate.upwards import (
    LeafTruths,
    MatchedBoxes,
    ScoredBoxes,
    forget_handed_on,
    keep_truths,
    leaf_totals,
    matches_added,
    read_truths,
    scores_added,
)
from blockwise.stages.segment import named
from blockwise.stages.tables import NODES_AT_SKELETON, OVERLAPS, SKELETON_NODES
from blockwise.store.base import Store

_PLACES = ("target", "skeletons", "written")

NOT_LABELLED = np.uint64(2**64 - 1)
"""How true voxels are counted of which nothing is known."""

_LABEL = 0xFFFFFFFF
"""With `per_section`, the bits of a true label that are not its section."""


class EvaluateSettings(Settings):
    """How the result is scored."""

    ignore: tuple[Annotated[int, Field(ge=-(2**63), lt=2**64)], ...] = (0,)
    """Voxels with these true labels are left out; those below 0 and the largest unsigned number, which mean "not
    labelled", are in any case."""
    min_voxels: Count = 0
    """True objects with fewer voxels are left out."""
    per_section: bool = False
    """True labels count again from the start in each section, as in a stack of 2D images; those of images of different
    sizes do in any case."""
    partial: bool = False
    """Accepted as in earlier versions; the truth may always be smaller or larger than the volume."""
    thresholds: tuple[Fraction, ...] | None = None
    """Thresholds that are scored; null: every hundredth from agglomerate.stop on, and those of segment."""
    false_merges: Count = 20
    """How many of the merges that first joined two true objects are listed, the highest scores first."""
    least_voxels: Positive = 50
    """A cluster counts as part of a true object, in that list, if it shares at least this many voxels with it."""
    merge_tolerance: Count = 0
    """For the expected run length: a skeleton with so many nodes in a segment, or fewer, is not merged with others
    there."""


class Evaluate(Stage):
    """Count the voxels that each fragment shares with each true object; score all thresholds at the end."""

    name = "evaluate"
    needs = ("fragments", "edges", "agglomerate", "correct", "absorb")

    fragments: Volume
    labels: Volume | None = None
    """True objects; None if there are only skeletons."""
    skeletons: Path | None = None
    """Skeletons of true objects, .graphml or .swc, in the units of the voxel size."""
    space: Volume | None = None
    """The volume by whose voxel size and offset the skeletons are placed."""
    dendrogram: Volume
    target: Path
    """evaluation.json"""
    shape: Voxels
    block: Voxels
    truth_begin: Voxels = (0, 0, 0)
    """Where the truth begins in the volume, in voxels; below 0 if before it."""
    truth_shape: Voxels
    settings: EvaluateSettings
    thresholds: tuple[Fraction, ...]
    """Those that are scored, sorted: of the settings, or from `sweep_thresholds`."""
    written: tuple[Fraction, ...] = ()
    """Those of the segments that are written; objects are matched at these and at the best."""

    def grid(self) -> Grid:
        return Grid(self.name, self.shape, self.block)

    def inputs(self) -> tuple[Volume, ...]:
        return (self.labels,) if self.labels else ()

    def parameters(self) -> dict[str, object]:
        chosen = {key: value for key, value in super().parameters().items() if key not in _PLACES and value is not None}
        if not self.settings.merge_tolerance:
            del chosen["merge_tolerance"]  # as it was before there was one
        if self.skeletons:
            chosen["skeletons"] = hashlib.sha256(self.skeletons.read_bytes()).hexdigest()
        return chosen

    def check(self) -> None:
        if self.labels:
            self.check_labels(self.labels)
        if self.skeletons and self.space:
            check_place(read_skeletons(self.skeletons), info(self.space), self.skeletons)

    def notes(self) -> Iterator[str]:
        box = Roi((0, 0, 0), self.shape).intersect(Roi(self.truth_begin, self.truth_shape))
        if self.labels and (box.shape != Coordinate(self.shape) or self.truth_shape != self.shape):
            scored = box_in_words(box.begin, box.end)
            yield f"{self.labels.path}: of other extent than the volume; scored is what both have, voxels {scored}"
        if self.skeletons and self.space:
            skeletons = read_skeletons(self.skeletons)
            outside = check_place(skeletons, info(self.space), self.skeletons)
            if outside:
                total = len(skeletons.places)
                yield f"{self.skeletons}: {outside} of {total} nodes lie outside of the volume and are left out"
            if doubt := doubt_of_place(skeletons, info(self.space)):
                yield f"{self.skeletons}: {doubt}"

    def check_labels(self, labels: Volume) -> None:
        """Raise BadInput unless the labels are whole numbers."""
        truth = info(labels)
        if truth.channels is not None or truth.dtype.kind not in KINDS_OF_LABELS:
            raise BadInput(
                labels.path,
                "labels must be whole numbers without a channel axis",
                got=f"{truth.shape} {truth.dtype}",
                wanted="(z, y, x) integers, truth values or whole floats",
            )

    def prepare(self, store: Store) -> None:
        if self.skeletons:
            voxels = read_skeletons(self.skeletons).voxels(info(self.fragments))
            store.put_all(SKELETON_NODES, list(nodes_by_block(voxels, self.grid())))

    def process(self, block: Block, store: Store) -> None:
        box = block.write_roi.intersect(Roi(self.truth_begin, self.truth_shape))
        nodes = store.get(SKELETON_NODES, block.key) if self.skeletons else None
        overlap = np.zeros(0, OVERLAP)
        if nodes is not None or not box.empty:
            ids = named(read(self.fragments, block.write_roi), block, store)
            if not box.empty:
                overlap = self.overlap(ids, block, box)
            if nodes is not None:
                store.put(NODES_AT_SKELETON, block.key, fragments_at(nodes, ids, block))
        store.put(OVERLAPS, block.key, overlap)

    def overlap(self, ids: np.ndarray, block: Block, box: Roi) -> np.ndarray:
        """Voxels shared by each pair of final fragment and true object inside `box`."""
        ids = ids[(box - block.write_roi.begin).to_slices()]
        if self.labels is None:
            return count_overlap(np.ascontiguousarray(ids), np.zeros(ids.shape, np.uint64))
        stored = as_integers(read(self.labels, box - Coordinate(self.truth_begin)), self.labels.path)
        is_known = stored >= 0 if stored.dtype.kind == "i" else stored != unlabelled(stored.dtype)
        truth = np.where(is_known, stored.astype(np.uint64), NOT_LABELLED)
        if self.settings.per_section:
            most = int(truth.max(where=is_known, initial=0))
            if most > _LABEL:
                raise WorkFailed(f"{self.labels.path}: with per_section labels must be below 2**32, got {most}")
            sections = np.arange(box.begin[0], box.end[0], dtype=np.uint64)[:, None, None]
            in_section = truth | (sections + np.uint64(1)) << np.uint64(32)
            truth = np.where(is_known & (truth > 0), in_section, truth)
        return count_overlap(np.ascontiguousarray(ids), truth)

    def closing(self, store: Store) -> Iterator[Stage]:
        levels = levels_of(self.dendrogram)
        yield LeafTruths(**levels.of(0))
        totals = leaf_totals(store, levels)
        truths = truths_of(totals, self.left_out(totals))
        keep_truths(store, truths)
        asked = self.settings.model_dump(include={"least_voxels", "false_merges"})
        for level in levels.numbers:
            yield ScoredBoxes(falling=self.falling, **asked, **levels.of(level))
        if self.labels is None:
            return
        rows = self.rows(self.added(truths, store), truths, store)
        for level in levels.numbers:
            yield MatchedBoxes(thresholds=self.matched_at(rows), **levels.of(level))

    def finish(self, store: Store) -> None:
        truths = read_truths(store)
        added = self.added(truths, store)
        rows = self.rows(added, truths, store)
        best_possible = finished(sums_of(added.assigned, truths), truths, math.nan)
        result = {
            "best": best_row(rows),
            "best_at_end": best_at_end(rows),
            "thresholds": rows,
            "best_possible": as_row(best_possible),
            "objects": self.match_objects(rows, truths, store),
            "false_merges": self.list_false_merges(added.false_merges, store),
        }
        write_json(self.target, result)
        forget_handed_on(store)

    @property
    def falling(self) -> tuple[float, ...]:
        """The thresholds, each smaller than the one before."""
        return tuple(sorted(set(self.thresholds), reverse=True))

    def added(self, truths: Truths, store: Store) -> ScoresAdded:
        """What all boxes add to the scores."""
        wanted = ScoresAsked(truths, self.falling, self.settings.least_voxels, self.settings.false_merges)
        return together(scores_added(store, levels_of(self.dendrogram)), wanted)

    def rows(self, added: ScoresAdded, truths: Truths, store: Store) -> list[dict[str, Any]]:
        """Rows of evaluation.json: the scores at each threshold."""
        at = dict(zip(self.falling, added.sums, strict=True))
        rows = [as_row(finished(at[threshold], truths, threshold)) for threshold in self.thresholds]
        return self.with_run_lengths(rows, self.skeletons, store) if self.skeletons else rows

    def matched_at(self, rows: list[dict[str, Any]]) -> tuple[float, ...]:
        """Where objects are matched: at the best threshold, and at those that are written."""
        return tuple(sorted({best_row(rows)["threshold"], *self.written}))

    def match_objects(self, rows: list[dict[str, Any]], truths: Truths, store: Store) -> list[dict[str, Any]]:
        """Rows of evaluation.json: how well objects are found."""
        if self.labels is None:
            return []
        added = matches_added(store, levels_of(self.dendrogram))
        return [as_row(matching(one, truths, at)) for one, at in zip(added, self.matched_at(rows), strict=True)]

    def with_run_lengths(self, rows: list[dict[str, Any]], path: Path, store: Store) -> list[dict[str, Any]]:
        """The rows with the expected run length; nodes outside the volume are left out with their edges."""
        everything = read_skeletons(path)
        fragment = np.zeros(len(everything.places), np.uint64)
        found = np.zeros(len(everything.places), bool)
        placed = store.rows(NODES_AT_SKELETON)
        fragment[placed["node"]] = placed["fragment"]
        found[placed["node"]] = True
        inside = everything.only(found)
        paths = Paths(inside.skeleton, inside.edges, inside.lengths(), self.settings.merge_tolerance)
        tree = tree_above(self.dendrogram, fragment[found])
        lengths = run_lengths(fragment[found], paths, tree, self.thresholds)
        return [{**row, **as_row(one)} for row, one in zip(rows, lengths, strict=True)]

    def list_false_merges(self, merges: list[FalseMerge], store: Store) -> list[dict[str, Any]]:
        """Rows of evaluation.json: which objects were joined by which merge, and where to look."""
        described = info(self.fragments)
        rows = []
        for merge, contact in zip(
            merges, contacts(store, self.fragments, self.grid(), self.dendrogram, merges), strict=True
        ):
            axes = zip(contact.voxel, described.voxel_size, described.offset, strict=True)
            rows.append(
                {
                    **asdict(merge),
                    **asdict(contact),
                    "truth": [label & _LABEL if self.settings.per_section else label for label in merge.truth],
                    "place": [offset + (index + 0.5) * size for index, size, offset in axes],
                }
            )
        return rows

    def left_out(self, table: np.ndarray) -> tuple[int, ...]:
        """True labels that are not scored: the ignored ones and the small ones."""
        if self.labels is None:
            return (0,)
        truth, place = np.unique(table["truth"], return_inverse=True)
        voxels = np.bincount(place, weights=table["voxels"], minlength=len(truth))
        small = truth[voxels < self.settings.min_voxels]
        chosen = {label % 2**64 for label in self.settings.ignore}
        objects = truth[truth > 0]
        is_mask = len(objects) == 1 and objects[0] == NOT_LABELLED  # 0 and 255 is a mask of one object
        if not is_mask or info(self.labels).dtype.kind == "i":
            chosen.add(int(NOT_LABELLED))
        return tuple({*chosen, *(int(label) for label in small)})


def as_row(scores: Scores | RunLength | Matching) -> dict[str, Any]:
    """One row of evaluation.json; NaN becomes null."""
    return {key: None if value != value else value for key, value in asdict(scores).items()}
