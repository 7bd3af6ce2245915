"""Segmentations by waterz itself, to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from blockwise.kernels.graph.reference import scoring_functions
from blockwise.kernels.graph.rules import Statistic
from blockwise.kernels.tables import relabel


def waterz_reference(
    affinities: np.ndarray, fragments: np.ndarray, statistic: Statistic, thresholds: Sequence[float]
) -> Iterator[np.ndarray]:
    """Segmentations (z, y, x) uint64, one for each threshold, ascending or not, in the order given.

    affinities: (3, z, y, x) float32 in [0, 1]. fragments: (z, y, x) uint64.
    statistic:  one of waterz.
    thresholds: fragments merge while an edge scores above; 1 merges nothing, as in `cut`.
    A segment is called by its smallest fragment.
    """
    import waterz

    function = scoring_functions()[statistic.of_waterz]
    names, dense = np.unique(fragments, return_inverse=True)
    shift = 0 if len(names) and names[0] == 0 else 1
    dense = (dense.reshape(fragments.shape) + shift).astype(np.uint64)
    falling = sorted(set(thresholds), reverse=True)
    results = waterz.agglomerate(
        np.ascontiguousarray(affinities, np.float32),
        thresholds=[1.0 - threshold for threshold in falling],
        fragments=dense.copy(),
        scoring_function=function,
    )
    found = {}
    for threshold, segments in zip(falling, results, strict=True):
        found[threshold] = _named(segments, fragments)
    return iter([found[threshold] for threshold in thresholds])


def _named(segments: np.ndarray, fragments: np.ndarray) -> np.ndarray:
    """Segments called by their smallest fragment."""
    old, first = np.unique(segments, return_inverse=True)
    smallest = np.full(len(old), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, first.ravel(), fragments.ravel())
    return relabel(segments, old, smallest)
