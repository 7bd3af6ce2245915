"""A plain score for tests that compare segmentations."""

from __future__ import annotations

import numpy as np


def variation_of_information(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Bits lost by splitting and by merging: entropies of found given truth, and of truth given found."""
    pairs, voxels = np.unique(np.stack([found.ravel(), truth.ravel()]).astype(np.int64), axis=1, return_counts=True)
    share = voxels / voxels.sum()

    def bits(shares: np.ndarray) -> float:
        return float(-(shares * np.log2(shares)).sum())

    def of_side(ids: np.ndarray) -> float:
        return bits(np.bincount(np.unique(ids, return_inverse=True)[1], share))

    return bits(share) - of_side(pairs[1]), bits(share) - of_side(pairs[0])
