"""Labels parted into folds, and how well a network tells the ones that were left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contraband.experiments.parting import deal, part_volume
from contraband.samples.points import Points

LEAST = 1e-3
"""A probability counts as at least this: one label that is surely wrong shall not decide alone."""


def folds_of(points: Points, count: int, draw: int) -> Iterator[tuple[Points, Points]]:
    """Which points are learnt and which are left out, `count` times; each is left out once, each class evenly.

    With fewer points of a class than folds, some folds leave none of it out; but no fold leaves out all of a class.
    """
    fold = deal(points.labels, count, lambda label: np.random.default_rng([draw, label]))
    for number in range(count):
        left = fold == number
        alone = [label for label in np.unique(points.labels) if left[points.labels == label].all()]
        left &= ~np.isin(points.labels, alone)
        yield points.chosen(~left), points.chosen(left)


def folds_of_volume(
    classes: NDArray[np.integer[Any]], count: int, draw: int, is_flat: bool
) -> Iterator[tuple[Points, Points]]:
    """The same where pixels of (z, y, x) classes are labelled side by side: whole patches or images are left out."""
    parted = part_volume(classes, count, draw, is_flat, "folds")
    for number in range(count):
        yield _points(classes, parted.learnt(number)), _points(classes, parted.left_out(number))


def loss_at(probabilities_PC: NDArray[np.floating], labels_P: NDArray[np.integer]) -> float:
    """Summed cross entropy of points, every class that is there weighing the same."""
    chosen = probabilities_PC[np.arange(len(labels_P)), labels_P]
    losses = -np.log(np.maximum(chosen, LEAST))
    return float(sum(losses[labels_P == label].mean() for label in np.unique(labels_P)))


def _points(classes: NDArray[np.integer[Any]], chosen: NDArray[np.bool_]) -> Points:
    return Points(np.argwhere(chosen).astype(np.int64), classes[chosen].astype(np.int64))
