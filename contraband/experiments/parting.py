"""Labels dealt out to folds: points one by one, labelled volumes in pieces.

Neighbours are alike: a voxel that is left out tells nothing if the one beside it was learnt. Nor does one object tell
how others are told, so where objects are known none of them is in two folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

from blockwise.errors import BadInput

GAP_VX = 4
"""Labels so near to some that are left out, and of the same blob, are not learnt either."""
LARGEST = 1.5
"""A piece with more than so many times a fold's even share of a class is cut."""
GRAIN = 100
"""Shares of a class are dealt out in steps of one in so many."""

Chosen = NDArray[np.bool_]


def deal(
    kinds: NDArray[np.integer[Any]], folds: int, random_of: Callable[[int], np.random.Generator]
) -> NDArray[np.int64]:
    """The fold of each label (N,), every kind dealt out evenly, in an order that `random_of` the kind draws."""
    fold = np.empty(len(kinds), np.int64)
    dealt = 0
    for kind in np.unique(kinds):
        rows = random_of(int(kind)).permutation(np.flatnonzero(kinds == kind))
        # kinds begin at different folds, or the first folds would get the rest of each
        fold[rows] = (dealt + np.arange(len(rows))) % folds
        dealt += len(rows)
    return fold


@dataclass(frozen=True)
class PartedVolume:
    """A labelled volume in folds."""

    classes: NDArray[np.integer[Any]]
    """(z, y, x): below 0 is not labelled."""
    blob: NDArray[np.integer[Any]]
    """(z, y, x): the connected blob of labels that a voxel is of, from 1; 0 elsewhere."""
    fold: NDArray[np.int8]
    """(z, y, x): in which fold a voxel is left out; -1 elsewhere."""
    is_flat: bool
    """Whether sections stand alone."""
    pieces: int
    """How many were dealt out."""

    def left_out(self, number: int) -> Chosen:
        """What a fold leaves out; never all labels of a class."""
        left: Chosen = self.fold == number
        known = self.fold >= 0
        for one in np.unique(self.classes[left]):
            mine = self.classes == one
            if not (mine & known & ~left).any():
                left &= ~mine
        return left

    def learnt(self, number: int) -> Chosen:
        """What a fold learns: the rest, without what lies next to what is left out."""
        left = self.left_out(number)
        rest = (self.fold >= 0) & ~left
        if not left.any():
            return rest
        sampling = (1e6 if self.is_flat else 1, 1, 1)
        apart, nearest = ndimage.distance_transform_edt(~left, sampling=sampling, return_indices=True)
        far: Chosen = rest & ~((apart <= GAP_VX) & (self.blob == self.blob[tuple(nearest)]))
        for one in np.unique(self.classes[rest]):
            mine = rest & (self.classes == one)
            if not (far & mine).any():  # a class that is small is learnt from its neighbours rather than not at all
                far |= mine
        return far


def part_volume(
    classes: NDArray[np.integer[Any]],
    folds: int,
    seed: int,
    is_flat: bool,
    where: object,
    objects: NDArray[np.integer[Any]] | None = None,
) -> PartedVolume:
    """The labels of (z, y, x) classes, below 0 none, in folds: by connected blobs, of which large ones are cut.

    is_flat: sections stand alone, so a blob has one section. Every class is dealt out as evenly as pieces allow.
    objects: (z, y, x), above 0 the object that a labelled voxel is of; none of them is cut.
    BadInput if there are too few pieces or objects for every fold to leave something out.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    blob = _blobs(classes >= 0, is_flat)
    piece = _pieces(classes, blob, folds)
    if objects is not None:
        there = len(np.unique(objects[objects > 0]))
        if there < folds:
            what = "has fewer objects than folds, and no object is cut"
            todo = "label more objects, or have fewer folds"
            raise BadInput(where, what, got=there, wanted=f"at least {folds}", todo=todo)
        piece = _with_whole_objects(piece, classes, blob, objects, folds)
    present, kind = np.unique(classes[piece > 0], return_inverse=True)
    count = int(piece.max(initial=0))
    if count < folds:
        raise BadInput(where, "has fewer pieces of labels than folds", got=count, wanted=f"at least {folds}")
    numbers = np.bincount((piece[piece > 0] - 1) * len(present) + kind, minlength=count * len(present))
    share = numbers.reshape(count, len(present)) / numbers.reshape(count, len(present)).sum(0)
    times = np.ceil(share * GRAIN).astype(np.int64).ravel()
    groups, kinds = (np.repeat(one.ravel(), times) for one in np.indices(share.shape))
    dealing = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold_of = np.full(count + 1, -1, np.int8)
    for number, (_, left) in enumerate(dealing.split(kinds, kinds, groups)):
        fold_of[1 + np.unique(groups[left])] = number
    parted = PartedVolume(classes, blob, fold_of[piece], is_flat, count)
    if not all(parted.left_out(number).any() for number in range(folds)):
        raise BadInput(where, "has a fold that leaves nothing out", todo="label more places, or have fewer folds")
    return parted


def _blobs(known: Chosen, is_flat: bool) -> NDArray[np.int64]:
    """Connected labels, numbered from 1: in each section by itself, or in the volume."""
    if not is_flat:
        whole: NDArray[np.int64] = cc3d.connected_components(known, connectivity=26).astype(np.int64)
        return whole
    result = np.zeros(known.shape, np.int64)
    total = 0
    for z in np.flatnonzero(known.any((1, 2))):
        found = cc3d.connected_components(known[z], connectivity=8).astype(np.int64)
        result[z] = np.where(found > 0, found + total, 0)
        total += int(found.max())
    return result


def _pieces(classes: NDArray[np.integer[Any]], blob: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Blobs, numbered again; those with too much of a class are halved along their longest side until they have not."""
    present, counts = np.unique(classes[blob > 0], return_counts=True)
    most = np.zeros(int(present.max(initial=0)) + 1)
    most[present] = np.maximum(1, LARGEST * counts / folds)
    result = np.zeros(blob.shape, np.int64)
    total = 0
    for number, box in enumerate(ndimage.find_objects(blob), start=1):
        mine = np.where(blob[box] == number, classes[box], -1)
        for place in _cut(mine, most):
            total += 1
            result[box][place][mine[place] >= 0] = total
    return result


def _with_whole_objects(
    piece: NDArray[np.int64],
    classes: NDArray[np.integer[Any]],
    blob: NDArray[np.int64],
    objects: NDArray[np.integer[Any]],
    folds: int,
) -> NDArray[np.int64]:
    """Pieces, numbered again: objects with what is labelled about them, near ones together up to a fold's even share.

    Blobs that hold no object are parted as they were.
    """
    home = _nearest_object(blob, objects)
    owned = home > 0
    names, row = np.unique(home[owned], return_inverse=True)
    kinds, kind = np.unique(classes[owned], return_inverse=True)
    counts = np.bincount(row * len(kinds) + kind, minlength=len(names) * len(kinds)).reshape(len(names), len(kinds))
    most = np.maximum(1, np.array([(classes == one).sum() for one in kinds]) / folds)
    of_object = np.bincount(row)
    places = np.stack([np.bincount(row, weights=axis) / of_object for axis in np.nonzero(owned)], axis=1)

    # an object may be in several blobs, which then are one
    size = len(names) + int(blob.max()) + 1
    links = sparse.coo_matrix((np.ones(len(row), bool), (row, len(names) + blob[owned])), shape=(size, size))
    joined = connected_components(links, directed=False)[1][: len(names)]

    number_of = np.zeros(len(names), np.int64)
    total = 0
    for one in np.unique(joined):
        for rows in _near_together(np.flatnonzero(joined == one), places, counts, most):
            total += 1
            number_of[rows] = total
    others = ~owned & (piece > 0)
    result = np.zeros_like(piece)
    result[owned] = number_of[row]
    result[others] = total + 1 + np.unique(piece[others], return_inverse=True)[1]
    return result


def _nearest_object(blob: NDArray[np.int64], objects: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Of every labelled voxel the nearest object in its blob; 0 where the blob has none."""
    result = np.zeros(blob.shape, np.int64)
    for number, box in enumerate(ndimage.find_objects(blob), start=1):
        mine = blob[box] == number
        there = np.where(mine, objects[box], 0)
        if (there > 0).any():
            place = ndimage.distance_transform_edt(there <= 0, return_distances=False, return_indices=True)
            result[box][mine] = there[tuple(place)][mine]
    return result


def _near_together(
    rows: NDArray[np.int64], places: NDArray[np.float64], counts: NDArray[np.int64], most: NDArray[np.float64]
) -> Iterator[NDArray[np.int64]]:
    """Objects halved where they are spread the most, until none of the parts has more than `most` of each class."""
    if len(rows) == 1 or (counts[rows].sum(0) <= most).all():
        yield rows
        return
    axis = int(np.argmax(np.ptp(places[rows], axis=0)))
    ordered = rows[np.argsort(places[rows, axis], kind="stable")]
    for half in (ordered[: len(rows) // 2], ordered[len(rows) // 2 :]):
        yield from _near_together(half, places, counts, most)


def _cut(classes: NDArray[np.integer[Any]], most: NDArray[np.float64]) -> Iterator[tuple[slice, ...]]:
    """Places in a box that hold labels, but not more of each class than `most`."""
    known = classes[classes >= 0]
    if not len(known):
        return
    if (np.bincount(known, minlength=len(most)) <= most).all() or max(classes.shape) == 1:
        yield tuple(slice(0, size) for size in classes.shape)
        return
    axis = int(np.argmax(classes.shape))
    middle = classes.shape[axis] // 2
    for begin, end in ((0, middle), (middle, classes.shape[axis])):
        half = tuple(slice(begin, end) if one == axis else slice(None) for one in range(classes.ndim))
        for inner in _cut(classes[half], most):
            shift = (begin if one == axis else 0 for one in range(classes.ndim))
            yield tuple(slice(at.start + by, at.stop + by) for at, by in zip(inner, shift, strict=True))
