"""Labels parted into folds, and how well a network tells the ones that were left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from contraband.samples.points import Points

LEAST = 1e-3
"""A probability counts as at least this: one label that is surely wrong shall not decide alone."""


def folds_of(points: Points, count: int, draw: int) -> Iterator[tuple[Points, Points]]:
    """Which points are learnt and which are left out, `count` times; each is left out once, each class evenly.

    With fewer points of a class than folds, some folds leave none of it out; but no fold leaves out all of a class.
    """
    fold = np.empty(len(points), np.int64)
    begin = 0
    for label in np.unique(points.labels):
        here = np.random.default_rng([draw, int(label)]).permutation(np.flatnonzero(points.labels == label))
        # classes begin at different folds, or the first ones would get the rest of each
        fold[here] = (begin + np.arange(len(here))) % count
        begin += len(here)
    for number in range(count):
        left = fold == number
        alone = [label for label in np.unique(points.labels) if left[points.labels == label].all()]
        left &= ~np.isin(points.labels, alone)
        yield _some(points, ~left), _some(points, left)


def loss_at(probabilities_PC: NDArray[np.floating], labels_P: NDArray[np.integer]) -> float:
    """Summed cross entropy of points, every class that is there weighing the same."""
    chosen = probabilities_PC[np.arange(len(labels_P)), labels_P]
    losses = -np.log(np.maximum(chosen, LEAST))
    return float(sum(losses[labels_P == label].mean() for label in np.unique(labels_P)))


def _some(points: Points, chosen: NDArray[np.bool_]) -> Points:
    return Points(points.positions[chosen], points.labels[chosen])
