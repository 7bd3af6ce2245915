"""Where a further label helps most, and how well the labels so far are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from blockwise.grid import Voxels, as_voxels
from contraband.label.image import FeatureImage
from contraband.quick.head import QuickHead
from contraband.quick.logistic import Scaling

CROPS = 12
"""Places in the image that candidates come from."""
EACH = 200
"""Candidates of a place."""
CROP: dict[int, Voxels] = {2: (1, 64, 64), 3: (4, 24, 24)}
LEAST_CERTAIN = 0.2
"""The share of the candidates of a class, the least certain ones, among which the one unlike all labels is taken."""
FOLDS = 5
APART_VX = 4
"""No proposal lies as near to a point."""


@dataclass(frozen=True)
class VoxelPool:
    """Voxels all over the image with their features, drawn once."""

    voxels: NDArray[np.int64]
    """(P, 3)"""
    features: NDArray[np.float32]
    """(P, F)"""

    @property
    def scaling(self) -> Scaling:
        """How features are distributed in the image."""
        return Scaling.of(self.features)


def draw_candidates(image: FeatureImage, seed: int) -> VoxelPool:
    """Candidates from small crops that lie anywhere in the image."""
    random = np.random.default_rng(np.random.SeedSequence([seed, 0x70726F70]))
    voxels, features = [], []
    size = as_voxels(min(one, whole) for one, whole in zip(CROP[image.recipe.dims], image.shape, strict=True))
    for _ in range(CROPS):
        begin = Coordinate(int(random.integers(whole - one + 1)) for one, whole in zip(size, image.shape, strict=True))
        found = image.features(Roi(begin, size)).reshape(image.count, -1)
        chosen = random.choice(found.shape[1], min(EACH, found.shape[1]), replace=False)
        voxels.append(np.stack(np.unravel_index(chosen, size), axis=1) + np.array(begin))
        features.append(found[:, chosen].T)
    return VoxelPool(np.concatenate(voxels), np.concatenate(features))


@dataclass(frozen=True)
class Labels:
    """What was labelled so far; of two points at one voxel the later one."""

    voxels: NDArray[np.int64]
    """(P, 3)"""
    classes: NDArray[np.int64]
    """(P,)"""
    features: NDArray[np.float32]
    """(P, F)"""


@dataclass(frozen=True)
class LabelScore:
    """How well a head that has not seen a label tells its class."""

    accuracy: float
    """The share told right, mean over the classes."""
    spread: float
    """Half of its 95 % interval, were the labels drawn by chance; clicks are not, so it says too little."""
    labels: int
    of_folds: tuple[float, ...] = ()
    """The share told right in each fold, mean over the classes that were left out in it."""

    @classmethod
    def of(cls, told: NDArray[np.integer], classes: NDArray[np.integer], fold: NDArray[np.integer]) -> Self:
        """The score of what P labels were told for, each when its fold was left out.

        told, classes, fold: (P,).
        """
        seen, counts = np.unique(classes, return_counts=True)
        right = np.array([np.count_nonzero(told[classes == one] == one) for one in seen])
        # two right and two wrong ones more (Agresti and Coull 1998): few labels, all right, are no certainty
        likely = (right + 2) / (counts + 4)
        variance = likely * (1 - likely) / (counts + 4)
        spread = float(1.96 * np.sqrt(variance.sum()) / len(seen))
        hits = told == classes
        of_folds = []
        for number in np.unique(fold):
            here = fold == number
            shares = [hits[here & (classes == one)].mean() for one in np.unique(classes[here])]
            of_folds.append(float(np.mean(shares)))
        return cls(float((right / counts).mean()), spread, len(classes), tuple(of_folds))


def propose(candidates: VoxelPool, head: QuickHead, labels: Labels, passed: Sequence[Voxels]) -> tuple[Voxels, int]:
    """A voxel to label next and the class that the head takes it for.

    The class is the one with the fewest labels among those predicted; of its least certain candidates the one is taken
    whose features are least like those of any label. passed: voxels proposed before, near which there is none.
    """
    probabilities = head.probabilities(candidates.features)
    predicted = probabilities.argmax(axis=1)
    ranked = np.sort(probabilities, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    taken = np.concatenate([labels.voxels, np.array(passed, np.int64).reshape(-1, 3)])
    far = np.abs(candidates.voxels[:, None] - taken[None]).max(axis=2).min(axis=1) >= APART_VX
    free = far if far.any() else np.ones(len(far), bool)
    wanted = min(np.unique(predicted[free]), key=lambda one: (np.count_nonzero(labels.classes == one), one))
    rows = np.flatnonzero(free & (predicted == wanted))
    rows = rows[np.argsort(margin[rows], kind="stable")[: max(1, int(len(rows) * LEAST_CERTAIN))]]
    sd = candidates.scaling.sd
    unlike = (((candidates.features[rows, None] - labels.features[None]) / sd) ** 2).sum(axis=2).min(axis=1)
    return as_voxels(candidates.voxels[rows[int(np.argmax(unlike))]]), int(wanted)


def score(
    labels: Labels, fitted: Callable[[NDArray[np.float32], NDArray[np.int64]], QuickHead], seed: int
) -> Iterator[LabelScore | None]:
    """The labels left out fold by fold and told by a head of the others: None after each fold, at last the score.

    It stays None while a class has one label only. fitted: a head of some features (P, F) and their classes (P,).
    """
    seen, counts = np.unique(labels.classes, return_counts=True)
    folds = min(FOLDS, int(counts.min()) if len(counts) else 0)
    if folds < 2 or len(seen) < 2:
        return
    random = np.random.default_rng(seed)
    fold = np.empty(len(labels.classes), np.int64)
    for one in seen:
        rows = random.permutation(np.flatnonzero(labels.classes == one))
        fold[rows] = np.arange(len(rows)) % folds
    told = np.empty(len(fold), np.int64)
    for number in range(folds):
        out = fold == number
        head = fitted(labels.features[~out], labels.classes[~out])
        told[out] = head.probabilities(labels.features[out]).argmax(axis=1)
        yield None
    yield LabelScore.of(told, labels.classes, fold)
