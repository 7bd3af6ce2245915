"""Fit a quick head: classes of voxels from their features.

P points, F features, C classes seen, N voxels. Classes are those of `contraband.models.classes`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from contraband.models.classes import CLASSES


class QuickHead(ABC):
    """Says of each voxel by itself how likely each class is. What it says does not depend on the voxels beside it."""

    kind: ClassVar[str]
    """The word by which it is asked for."""

    def __init__(self, seen: NDArray[np.integer], features: int) -> None:
        self.seen = np.asarray(seen, np.int64)
        """(C,) the classes that it was shown, in order."""
        self.features = features
        """How many features it wants of a voxel."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it consists of, for a file."""

    @classmethod
    @abstractmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> QuickHead:
        """The head that consists of these; KeyError or ValueError if they are none."""

    @abstractmethod
    def _into(self, features_FN: NDArray[np.float32], result_CN: NDArray[np.float32]) -> None:
        """Write the probability of each class seen."""

    def probabilities(self, features_PF: NDArray[np.floating]) -> NDArray[np.float32]:
        """(P, 3) float32, by the order of CLASSES; 0 for classes never seen, and the sum is 1."""
        return np.ascontiguousarray(self.of_volume(np.asarray(features_PF, np.float32).T).T)

    def of_volume(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(3, ...) float32 of features (F, ...), as they come of a volume."""
        if features.shape[0] != self.features:
            raise BadInput("features", "are not those of this head", got=features.shape[0], wanted=self.features)
        flat = np.ascontiguousarray(features.reshape(len(features), -1), np.float32)
        found = np.empty((len(self.seen), flat.shape[1]), np.float32)
        self._into(flat, found)
        if len(self.seen) == len(CLASSES):
            return found.reshape(len(CLASSES), *features.shape[1:])
        result = np.zeros((len(CLASSES), flat.shape[1]), np.float32)
        result[self.seen] = found
        return result.reshape(len(CLASSES), *features.shape[1:])


def check_points(features_PF: NDArray[np.floating], classes_P: NDArray[np.integer]) -> None:
    """Raise BadInput unless there are points of two classes, each with finite features."""
    if features_PF.ndim != 2 or len(features_PF) != len(classes_P):
        raise BadInput("points", "have no features each", got=features_PF.shape, wanted=f"({len(classes_P)}, features)")
    seen = np.unique(classes_P)
    if len(seen) < 2:
        got = ", ".join(CLASSES[one] for one in seen if 0 <= one < len(CLASSES)) or "none"
        raise BadInput("points", "are all of one class", got=got, wanted="two classes at least")
    if seen[0] < 0 or seen[-1] >= len(CLASSES):
        raise BadInput("points", "have unknown classes", got=seen.tolist(), wanted=dict(enumerate(CLASSES)))
    if not np.isfinite(features_PF).all():
        raise BadInput("points", "have features that are not finite")
