"""Labels of a budget: points drawn evenly over the classes, or patches; those of a smaller budget come first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from contraband.samples.points import Points

ATTEMPTS = 20
"""Squares that are tried in an image before the next one."""


def draw_points(classes: NDArray[np.integer[Any]], budget: int, draw: int, where: object) -> Points:
    """`budget` points of (S, y, x) classes, as many of each class that there is, the first classes getting the rest.

    The same draw gives the same points, and those of a smaller budget are among those of a larger one. Pixels below 0
    are not drawn. BadInput if a class has too few pixels.
    """
    present = [int(one) for one in np.unique(classes) if one >= 0]
    if budget < len(present):
        raise BadInput(where, "has fewer labels than classes", got=budget, wanted=f"at least {len(present)}")
    counts = [budget // len(present) + (place < budget % len(present)) for place in range(len(present))]
    flat, labels = [], []
    for label, count in zip(present, counts, strict=True):
        candidates = np.flatnonzero(classes == label)
        if len(candidates) < count:
            raise BadInput(where, f"class {label} has too few pixels", got=len(candidates), wanted=count)
        flat.append(candidates[_first(len(candidates), count, [draw, label])])
        labels.append(np.full(count, label, np.int64))
    positions = np.stack(np.unravel_index(np.concatenate(flat), classes.shape), axis=1).astype(np.int64)
    return Points(positions, np.concatenate(labels))


def draw_patches(classes: NDArray[np.integer[Any]], budget: int, side: int, draw: int, where: object) -> Points:
    """All pixels of `budget` squares of (S, y, x) classes, each in an image of its own and with every class in it.

    The same draw gives the same squares, and those of a smaller budget are among those of a larger one. BadInput if
    there are too few images, or if none of many squares holds every class.
    """
    count, height, width = classes.shape
    if budget > count or side > min(height, width):
        got = f"{budget} of {side} x {side}"
        raise BadInput(where, "has too few or too small images for patches", got=got, wanted=list(classes.shape))
    present = np.unique(classes[classes >= 0])
    random = np.random.default_rng([draw, side])
    chosen = []
    for section in random.permutation(count).tolist():
        for y, x in random.integers((height - side + 1, width - side + 1), size=(ATTEMPTS, 2)).tolist():
            if np.isin(present, classes[section, y : y + side, x : x + side]).all():
                chosen.append((section, y, x))
                break
        if len(chosen) == budget:
            return _of_squares(classes, chosen, side)
    raise BadInput(where, "has too few images in which a patch holds every class", got=len(chosen), wanted=budget)


def _of_squares(classes: NDArray[np.integer[Any]], corners: list[tuple[int, int, int]], side: int) -> Points:
    labelled = np.zeros(classes.shape, bool)
    for section, y, x in corners:
        labelled[section, y : y + side, x : x + side] = classes[section, y : y + side, x : x + side] >= 0
    return Points(np.argwhere(labelled).astype(np.int64), classes[labelled].astype(np.int64))


def _first(total: int, count: int, seed: list[int]) -> NDArray[np.int64]:
    """The first `count` of an endless series of different numbers below `total`, the same whatever the count."""
    random = np.random.default_rng(seed)
    found: dict[int, None] = {}
    while len(found) < count:
        found.setdefault(int(random.integers(total)))
    return np.array(list(found), np.int64)
