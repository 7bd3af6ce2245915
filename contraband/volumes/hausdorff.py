"""How far matched objects lie apart at the worst: the Hausdorff distance, in passes of bounded memory.

For each pair the blocks around it are read, twice: what is kept are the places of the surface of one object, not its
voxels. All is done in this process, for what was matched only, and only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from funlib.geometry import Coordinate, Roi
from scipy.spatial import cKDTree

from blockwise.arrays.placement import place_in
from blockwise.arrays.values import as_integers, unlabelled
from blockwise.arrays.volume import Volume, info, read
from blockwise.errors import BadInput
from blockwise.grid import Grid, as_voxels
from blockwise.kernels.measures import EXTENT, extents, merge_extents
from blockwise.kernels.scores.matching import matched_pairs
from blockwise.kernels.scores.tables import truths_of
from blockwise.kernels.tables import OVERLAP, count_overlap, distinct, merge_overlaps
from contraband.volumes.line import affinity_volume, has_truth_per_section
from contraband.volumes.result import Result, blocks_in
from contraband.volumes.settings import VolumeSettings

LoadBoth = Callable[[Roi], tuple[np.ndarray, np.ndarray]]
"""Segments and true objects of a region, uint64; segments are 0 where the truth is ignored."""


@dataclass(frozen=True)
class Distance:
    """A matched pair, and how far its worst voxel lies from the other object."""

    segment: int
    truth: int
    iou: float
    hausdorff: float
    """In the unit of the voxel size: the largest distance from a voxel of one to the nearest voxel of the other."""


def hausdorff_distances(settings: VolumeSettings, threshold: float) -> list[Distance]:
    """The distances of all objects that are found at a threshold, with an IoU above 0.5; raises BadInput.

    The run must be finished up to where its graph ends. Objects are compared where the truth is, and not ignored.
    """
    labels = check_truth(settings)
    begin = Coordinate(place_in(labels, affinity_volume(settings)).begin)
    segments = Result(settings).segments(threshold)
    ignored = np.array([label % 2**64 for label in settings.evaluate.ignore], np.uint64)

    def load(region: Roi) -> tuple[np.ndarray, np.ndarray]:
        ours = segments[region.to_slices()]
        stored = as_integers(read(labels, region - begin), labels.path)
        theirs = stored.astype(np.uint64)
        is_left_out = np.isin(theirs, ignored) | (stored == unlabelled(stored.dtype))
        return np.where(is_left_out, np.uint64(0), ours), np.where(is_left_out, np.uint64(0), theirs)

    box = Roi((0, 0, 0), segments.shape).intersect(Roi(begin, info(labels).spatial))
    return distances(
        load, Grid("hausdorff", as_voxels(segments.shape), settings.blocks.shape), box, segments.voxel_size
    )


def check_truth(settings: VolumeSettings) -> Volume:
    """The true objects; raises BadInput if there are none that have a distance."""
    if settings.volume.labels is None or has_truth_per_section(settings):
        got = None if settings.volume.labels is None else "labels of single sections"
        raise BadInput("--hausdorff", "needs true objects that go through sections", got=got, wanted="volume.labels")
    return Volume(path=settings.volume.labels)


def distances(load: LoadBoth, grid: Grid, box: Roi, voxel_size: Sequence[float]) -> list[Distance]:
    """The distances of all matched objects in a box, by segment. grid: what is read at once."""
    overlaps, ours, theirs = [np.empty(0, OVERLAP)], [np.empty(0, EXTENT)], [np.empty(0, EXTENT)]
    for region in _regions(grid, box):
        pair = load(region)
        overlaps.append(count_overlap(*pair))
        for found, ids in zip((ours, theirs), pair, strict=True):
            known = distinct(np.ascontiguousarray(ids))
            found.append(extents(ids, known, as_voxels(region.begin), grid.volume))
    table = merge_overlaps(overlaps)
    pairs = matched_pairs(table, truths_of(table, ()))
    extent_of = [
        {int(row["fragment"]): row for row in merge_extents(np.concatenate(found))} for found in (ours, theirs)
    ]
    result = []
    for segment, truth, shared, union in zip(pairs.segment, pairs.truth, pairs.shared, pairs.union, strict=True):
        rows = [extent_of[0][int(segment)], extent_of[1][int(truth)]]
        low, high = (np.minimum(*(row["begin"] for row in rows)), np.maximum(*(row["end"] for row in rows)))
        around = Roi(low.tolist(), (high - low).tolist())
        worst = _distance(load, grid, around, (segment, truth), np.asarray(voxel_size))
        result.append(Distance(int(segment), int(truth), float(shared / union), worst))
    return sorted(result, key=lambda one: one.segment)


def _distance(load: LoadBoth, grid: Grid, around: Roi, pair: tuple[int, int], size: np.ndarray) -> float:
    """The distance of two objects; around: a box that holds both."""
    surfaces: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for region in _regions(grid, around):
        halo = region.grow(Coordinate(1, 1, 1), Coordinate(1, 1, 1)).intersect(around)
        for found, ids, number in zip(surfaces, load(halo), pair, strict=True):
            inside = _surface(ids == number)[(region - halo.begin).to_slices()]
            found.append((np.argwhere(inside) + np.array(region.begin)).astype(np.int32))
    # The voxel of an object that is nearest to one outside lies on its surface, so no other is kept.
    trees = [cKDTree(np.concatenate(found) * size) for found in surfaces]
    worst = 0.0
    for region in _regions(grid, around):
        masks = [ids == number for ids, number in zip(load(region), pair, strict=True)]
        for own, other, tree in ((masks[0], masks[1], trees[1]), (masks[1], masks[0], trees[0])):
            outside = np.argwhere(own & ~other) + np.array(region.begin)
            if len(outside):
                worst = max(worst, float(tree.query(outside * size)[0].max()))
    return worst


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels with a neighbour along an axis that is not in the mask; beyond the array nothing is."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(3):
        for step in (-1, 1):
            inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    surface: np.ndarray = mask & ~inner
    return surface


def _regions(grid: Grid, box: Roi) -> Iterator[Roi]:
    """The pieces of a box that lie in one block each."""
    if not box.empty:
        for block in blocks_in(grid, box):
            yield block.write_roi.intersect(box)
