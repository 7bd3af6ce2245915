# mypy: allow-untyped-defs
"""Expected run length of a segmentation along skeletons (Januszewski et al. 2018), at any threshold.

An edge of a skeleton is *omitted* if an end is in background, else *split* if its ends are in two segments, else
*merged* if their segment holds nodes of several skeletons, else correct. What a segment holds of a skeleton's correct
edges is one run. The expected run length is the mean length of the run around a point that is drawn evenly from all
edges; where an edge is not correct it is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.graph.agglomeration import Dendrogram


@dataclass(frozen=True)
class RunLength:
    """How far one can follow a skeleton before an error."""

    erl: float
    """Expected run length, in the unit of the edges' lengths; nan if there is no edge of any length."""

    erl_fraction: float
    """Of what it were if nothing was split or merged."""

    split_edges: int
    """Edges between two segments."""

    merged_edges: int
    """Edges within a segment that holds nodes of several skeletons."""

    omitted_edges: int
    """Edges with an end in background."""


class Paths(NamedTuple):
    """Skeletons along which runs are followed."""

    skeleton: np.ndarray
    """(n,) int64, the skeleton of each node, from 0."""
    edges: np.ndarray
    """(m, 2) int64, rows of nodes of the same skeleton."""
    lengths: np.ndarray
    """(m,) float64."""
    tolerance: int = 0
    """A skeleton with so many nodes in a segment, or fewer, does not count as merged with others there."""


def run_length(segment: np.ndarray, paths: Paths) -> RunLength:
    """The expected run length of one segmentation.

    segment: (n,) uint64, the segment of each node; 0 is background.
    """
    skeleton, edges, lengths, tolerance = paths
    ids, place = np.unique(segment, return_inverse=True)
    several = int(skeleton.max(initial=0)) + 1
    run_at = place * several + skeleton
    runs, nodes = np.unique(run_at, return_counts=True)
    merging = np.bincount(runs[nodes > tolerance] // several, minlength=len(ids)) > 1
    one, other = place[edges[:, 0]], place[edges[:, 1]]
    background = ids == 0
    omitted = background[one] | background[other]
    split = ~omitted & (one != other)
    merged = ~omitted & ~split & merging[one]
    correct = ~(omitted | split | merged)
    total = math.fsum(lengths.tolist())
    perfect = _sum_of_squares(skeleton[edges[:, 0]], lengths)
    found = _sum_of_squares(run_at[edges[correct, 0]], lengths[correct])
    counts = (int(split.sum()), int(merged.sum()), int(omitted.sum()))
    if not total:
        return RunLength(math.nan, math.nan, *counts)
    return RunLength(found / total, found / perfect, *counts)


def _sum_of_squares(groups: np.ndarray, lengths: np.ndarray) -> float:
    """The sum over all groups (equal numbers) of the square of their whole length."""
    _, place = np.unique(groups, return_inverse=True)
    return math.fsum((np.bincount(place, weights=lengths) ** 2).tolist())


def run_lengths(
    fragment: np.ndarray, paths: Paths, dendrogram: Dendrogram, thresholds: Sequence[float]
) -> list[RunLength]:
    """The expected run length at each threshold, in the order given.

    fragment: (n,) uint64, the fragment of each node; one that the dendrogram does not know stays as it is.
    """
    ids, place = np.unique(fragment, return_inverse=True)
    known = np.isin(ids, dendrogram.fragment)
    top = np.searchsorted(dendrogram.fragment, ids[known])
    parent = np.searchsorted(dendrogram.fragment, dendrogram.parent)
    found, segment = {}, ids.copy()
    for threshold in sorted(set(thresholds), reverse=True):
        _climb_on(top, parent, dendrogram.score, threshold)
        segment[known] = dendrogram.fragment[top]
        found[threshold] = run_length(segment[place], paths)
    return [found[threshold] for threshold in thresholds]


@compiled
def _climb_on(top, parent, score, threshold):
    """Move each row up to its ancestor at a threshold that is no higher than the last one."""
    for at in range(len(top)):
        row = top[at]
        while score[row] > threshold:
            row = parent[row]
        top[at] = row
