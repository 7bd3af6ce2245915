"""Labels of a budget: points drawn evenly over the classes, those of a smaller budget first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from contraband.samples.points import Points


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


def _first(total: int, count: int, seed: list[int]) -> NDArray[np.int64]:
    """The first `count` of an endless series of different numbers below `total`, the same whatever the count."""
    random = np.random.default_rng(seed)
    found: dict[int, None] = {}
    while len(found) < count:
        found.setdefault(int(random.integers(total)))
    return np.array(list(found), np.int64)
