# mypy: allow-untyped-defs
"""A logistic regression in which every class weighs the same and directions that only light changes are paid for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from blockwise.kernels.compiled import compiled
from contraband.quick.head import QuickHead

STRENGTH = 1.0
"""What the labels weigh against small weights: scikit-learn's C."""
IDENTITY = 0.05
"""Of the penalty of a whitened head, the share that all directions pay alike."""
CHUNK = 1024


@dataclass(frozen=True)
class Scaling:
    """How features are distributed in images without labels: better known from many voxels than from a few points."""

    mean: NDArray[np.float64]
    """(F,)"""
    sd: NDArray[np.float64]
    """(F,) above 0."""
    nuisance: NDArray[np.float64] | None = None
    """(F, F): mean of e e^T in units of `sd`, e the difference of a voxel's features in two views that mean the same;
    None: all directions are alike."""

    @classmethod
    def of(cls, features_PF: NDArray[np.floating]) -> Self:
        """Mean and standard deviation of these voxels."""
        values = np.asarray(features_PF, np.float64)
        sd = values.std(axis=0)
        return cls(values.mean(axis=0), np.where(sd > 0, sd, 1.0))

    def whitening(self) -> NDArray[np.float64]:
        """(F, F) W: with features in units of `sd` times W^T, the penalty of all directions is the same."""
        count = len(self.sd)
        if self.nuisance is None:
            return np.eye(count)
        size = np.trace(self.nuisance) / count
        penalty = IDENTITY * np.eye(count) + (1 - IDENTITY) * self.nuisance / (size if size > 0 else 1.0)
        inverse: NDArray[np.float64] = np.linalg.inv(np.linalg.cholesky(penalty))
        return inverse


class Logistic(QuickHead):
    """A weight for each class and feature."""

    kind = "logistic"

    def __init__(
        self, seen: NDArray[np.integer], weights_CF: NDArray[np.floating], bias_C: NDArray[np.floating]
    ) -> None:
        if weights_CF.ndim != 2 or weights_CF.shape[0] != len(seen) or bias_C.shape != (len(seen),):
            raise ValueError("weights and classes do not fit")
        super().__init__(seen, weights_CF.shape[1])
        self._weights = np.ascontiguousarray(weights_CF, np.float32)
        self._bias = np.ascontiguousarray(bias_C, np.float32)

    @classmethod
    def fitted(
        cls, features_PF: NDArray[np.float32], classes_P: NDArray[np.integer], scaling: Scaling | None = None
    ) -> Self:
        """The weights that say best of which classes the points are; scaling: by default that of the points."""
        from sklearn.linear_model import LogisticRegression

        scale = scaling or Scaling.of(features_PF)
        whitening = scale.whitening()
        white = ((features_PF - scale.mean) / scale.sd) @ whitening.T
        # lbfgs would spend its time waking the threads of BLAS for vectors of a few numbers
        found = LogisticRegression(C=STRENGTH, class_weight="balanced", solver="newton-cg", max_iter=300)
        found.fit(white, classes_P)
        coefficients, bias = found.coef_, found.intercept_
        if len(found.classes_) == 2:  # one row, which tells how much likelier the second one is
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            bias = np.concatenate([-bias, bias]) / 2
        weights = (coefficients @ whitening) / scale.sd
        return cls(found.classes_, weights, bias - weights @ scale.mean)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {"seen": self.seen, "weights": self._weights, "bias": self._bias}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Logistic:
        return cls(
            np.asarray(arrays["seen"], np.int64),
            np.asarray(arrays["weights"], np.float32),
            np.asarray(arrays["bias"], np.float32),
        )

    def _into(self, features_FN: NDArray[np.float32], result_CN: NDArray[np.float32]) -> None:
        _softmax(features_FN, self._weights, self._bias, result_CN)


@compiled
def _softmax(features, weights, bias, result):
    """Write the probability of each class, (C, N) of features (F, N). A product of matrices would be faster by little,
    and would sum in another order for other numbers of voxels."""
    classes, voxels = result.shape
    for low in range(0, voxels, CHUNK):
        high = min(voxels, low + CHUNK)
        for c in range(classes):
            row = result[c, low:high]
            row[:] = bias[c]
            for f in range(features.shape[0]):
                _add_scaled(row, weights[c, f], features[f, low:high])
        for n in range(low, high):
            top = result[0, n]
            for c in range(1, classes):
                top = max(top, result[c, n])
            total = np.float32(0)
            for c in range(classes):
                result[c, n] = math.exp(result[c, n] - top)
                total += result[c, n]
            for c in range(classes):
                result[c, n] /= total


@compiled
def _add_scaled(row, weight, values):
    """Add one feature's contribution."""
    for place in range(len(row)):
        row[place] += weight * values[place]
