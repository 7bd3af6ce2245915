"""Fit either quick head; keep one in a file."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contraband.quick.forest import Forest
from contraband.quick.head import QuickHead, check_points
from contraband.quick.logistic import Logistic, Scaling

HeadKind = Literal["forest", "logistic"]


def fit(
    kind: HeadKind,
    features_PF: NDArray[np.floating],
    classes_P: NDArray[np.integer],
    seed: int = 0,
    scaling: Scaling | None = None,
) -> QuickHead:
    """The head that says of which class voxels are, learned from P points; the same seed gives the same head.

    classes_P: 0 background, 1 inside, 2 boundary; every class that is there weighs the same. scaling: how features are
    distributed in images without labels, for the logistic head. Raises BadInput if all points are of one class.

    Example:
        head = fit("forest", features[:, z, y, x].T, classes)
        inside = head.of_volume(features)[1]
    """
    check_points(features_PF, classes_P)
    values = np.asarray(features_PF, np.float32)
    if kind == "forest":
        return Forest.fitted(values, classes_P, seed)
    return Logistic.fitted(values, classes_P, scaling)
