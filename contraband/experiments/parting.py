"""Labels dealt out to folds: points one by one, labelled volumes in pieces.

Neighbours are alike: a voxel that is left out tells nothing if the one beside it was learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

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


def part_volume(classes: NDArray[np.integer[Any]], folds: int, seed: int, is_flat: bool, where: object) -> PartedVolume:
    """The labels of (z, y, x) classes, below 0 none, in folds: by connected blobs, of which large ones are cut.

    is_flat: sections stand alone, so a blob has one section. Every class is dealt out as evenly as pieces allow.
    BadInput if there are fewer labelled voxels than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    blob = _blobs(classes >= 0, is_flat)
    piece = _pieces(classes, blob, folds)
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
    return PartedVolume(classes, blob, fold_of[piece], is_flat)


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
