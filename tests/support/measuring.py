"""Scores of whole segmentations in memory: ours, and those of waterz on the same affinities."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from blockwise.kernels.graph.agglomeration import agglomerate
from blockwise.kernels.graph.edges import count_edges
from blockwise.kernels.graph.rules import Statistic
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap
from blockwise.kernels.watershed.label import label_block, window
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import ALL_MERGES
from tests.support.scoring import sweep
from tests.support.waterz import waterz_reference

NEAREST = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
THRESHOLDS = tuple(step / 100 for step in range(2, 99))
COARSE = THRESHOLDS[::4]
"""For waterz, which writes a volume for each; ours are not finer where the two are compared."""


@dataclass(frozen=True)
class Ours:
    """A volume segmented by our rules."""

    fragments: np.ndarray
    edges_a_voxel: float
    voi: dict[float, float]
    """VOI sum in bits at each threshold."""

    @property
    def best(self) -> float:
        """The threshold with the smallest VOI."""
        return min(self.voi, key=self.voi.__getitem__)


def ours(
    affinities: np.ndarray, truth: np.ndarray, ignore: Sequence[int] = (), rules: WatershedRules | None = None
) -> Ours:
    """Fragments, mean agglomeration and scores of a volume in one block; ignore: true ids left out."""
    rules, shape = rules or WatershedRules(), truth.shape
    fragments, _ = label_block(affinities, window(rules, shape, (0, 0, 0), shape), rules)
    edges = count_edges(fragments, affinities, NEAREST, (0, 0, 0))
    tree = agglomerate(edges, int(np.iinfo(affinities.dtype).max), ALL_MERGES, np.unique(fragments[fragments > 0]))
    found = sweep(count_overlap(fragments, truth.astype(np.uint64)), tree, THRESHOLDS, ignore)
    scores = {threshold: one.voi_sum for threshold, one in zip(THRESHOLDS, found, strict=True)}
    return Ours(fragments, len(edges) / truth.size, scores)


def waterz_best(affinities: np.ndarray, truth: np.ndarray, fragments: np.ndarray | None = None) -> float:
    """The smallest VOI sum of waterz (mean affinity) over all thresholds, of its own watershed or of the fragments."""
    with silent():
        return min(_voi(segments, truth) for segments in _waterz(affinities.astype(np.float32) / 255, fragments))


def _waterz(affinities: np.ndarray, fragments: np.ndarray | None) -> Iterator[np.ndarray]:
    if fragments is not None:
        return waterz_reference(affinities, fragments, Statistic("waterz:mean"), COARSE)
    import waterz

    return (np.asarray(made) for made in waterz.agglomerate(affinities, [1 - threshold for threshold in COARSE]))


def _voi(segments: np.ndarray, truth: np.ndarray) -> float:
    return score(count_overlap(segments.astype(np.uint64), truth.astype(np.uint64)), ignore=()).voi_sum


def merged_voi(truth: np.ndarray) -> float:
    """The VOI sum of one segment that is everything."""
    return _voi(np.ones(truth.shape, np.uint64), truth)


@contextmanager
def silent() -> Iterator[None]:
    """waterz tells its steps on the standard output of the process, past Python; they are thrown away."""
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
