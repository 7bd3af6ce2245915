"""Scores of a whole table and dendrogram at once, made of what stages use box by box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from blockwise.kernels.graph.agglomeration import Dendrogram
from blockwise.kernels.graph.boxes import disassemble
from blockwise.kernels.scores.false_merges import FalseMerge, false_merges
from blockwise.kernels.scores.matching import Matching, matched_pairs, matches_of, matching
from blockwise.kernels.scores.tables import Scores, assigned, best_first, evaluated, finished, score, swept, truths_of


def sweep(
    table: np.ndarray, dendrogram: Dendrogram, thresholds: Sequence[float], ignore: Sequence[int]
) -> list[Scores]:
    """The scores at each threshold, in the order given.

    table: OVERLAP of fragments; those that the dendrogram does not know stay as they are.
    Equals `score` of the table with the fragments' segments.
    """
    truths = truths_of(table, ignore)
    falling = sorted(set(thresholds), reverse=True)
    sums = swept(evaluated(table, truths), best_first(disassemble(dendrogram)), truths, falling)
    found = dict(zip(falling, sums, strict=True))
    return [finished(found[threshold], truths, float(threshold)) for threshold in thresholds]


def best_possible(table: np.ndarray, ignore: Sequence[int]) -> Scores:
    """The scores if every fragment went to the truth object it shares most voxels with (ties: the smaller).

    Fragment 0, background, stays alone; fragments without an evaluated voxel are left out.
    """
    return score(assigned(table, truths_of(table, ignore)), ignore)


def first_false_merges(
    table: np.ndarray, dendrogram: Dendrogram, least_voxels: int, wanted: int, ignore: Sequence[int]
) -> list[FalseMerge]:
    """At most `wanted` false merges, highest score first; of equal scores, the larger child first.

    table: OVERLAP of fragments, in any order; those that the dendrogram does not know are never merged.
    """
    truths = truths_of(table, ignore)
    return false_merges(evaluated(table, truths), best_first(disassemble(dendrogram)), truths, least_voxels, wanted)


def match(table: np.ndarray, ignore: Sequence[int], threshold: float = math.nan) -> Matching:
    """The scores of the objects of one segmentation. table, ignore: as for `score`. threshold: only noted."""
    truths = truths_of(table, ignore)
    return matching(matches_of(matched_pairs(table, truths)), truths, threshold)
