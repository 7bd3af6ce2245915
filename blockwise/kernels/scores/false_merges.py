# mypy: allow-untyped-defs
"""The merges that first joined two true objects, found by walking a dendrogram from the highest score.

The main object of a cluster is the true object that it shares most evaluated voxels with, if these are at least
`least_voxels`; a cluster without one (background, a sliver) is never part of a false merge. A merge is false if its two
clusters have different main objects, and it is reported if no merge above it was reported for the same two
objects. All of this is a function of the table and the dendrogram, so it does not depend on blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.graph.agglomeration import Dendrogram, in_order, unique
from blockwise.kernels.lookup import is_crowded, refill
from blockwise.kernels.scores.tables import EvaluatedRows, Truths
from blockwise.kernels.scores.walk import PER_BIT, begin, merge_clusters, root


@dataclass(frozen=True)
class FalseMerge:
    """Two clusters of different true objects became one."""

    score: float
    """The score of the merge: thresholds below it have this error."""

    clusters: tuple[int, int]
    """The clusters, each by its smallest fragment; the first is the smaller one."""

    truth: tuple[int, int]
    """The main object of each."""

    voxels: tuple[int, int]
    """Voxels that each shares with its main object."""

    voi_merge: float
    """How many bits this merge adds to VOI merge."""


def false_merges(
    rows: EvaluatedRows, merges: np.ndarray, truths: Truths, least_voxels: int, wanted: int
) -> list[FalseMerge]:
    """At most `wanted` false merges, highest score first; of equal scores, the larger child first.

    rows: of fragments; those that no merge names are never merged. merges: MERGE, see `best_first`.
    truths: of all that is scored, of which the rows may be some.
    """
    merges = merges[merges["parent"] > 0]  # background is no object
    if not (wanted and len(merges)):
        return []
    rows = rows.without_background()
    ids = unique([merges["child"], merges["parent"], rows.segment_ids])
    found, costs = _walk(
        np.searchsorted(ids, rows.segment_ids)[rows.segment],
        rows.truth,
        rows.voxels,
        truths.sizes,
        truths.ids > 0,
        len(ids),
        np.searchsorted(ids, merges["child"]),
        np.searchsorted(ids, merges["parent"]),
        np.uint64(max(1, least_voxels)),
        wanted,
    )
    listed = []
    for (merge, one, other, *voxels), cost in zip(found.tolist(), costs.tolist(), strict=True):
        clusters = (int(merges["parent"][merge]), int(merges["child"][merge]))
        truth = (int(truths.ids[one]), int(truths.ids[other]))
        score = float(merges["score"][merge])
        listed.append(FalseMerge(score, clusters, truth, (voxels[0], voxels[1]), cost / truths.voxels))
    return listed


def first_of(lists: Iterable[Sequence[FalseMerge]], wanted: int) -> list[FalseMerge]:
    """The false merges of a volume from those of its boxes: at most `wanted`, each pair of objects once."""
    found: dict[frozenset[int], FalseMerge] = {}
    for merge in sorted(chain(*lists), key=lambda one: (-one.score, -one.clusters[1])):
        found.setdefault(frozenset(merge.truth), merge)
    return list(found.values())[:wanted]


def both_sides(dendrogram: Dendrogram, merges: Sequence[FalseMerge]) -> tuple[np.ndarray, np.ndarray]:
    """Which fragments were in the first and in the second cluster of each merge.

    merges: at most 64. Returns two (n,) uint64 arrays; bit i stands for merge i.
    """
    order, count = in_order(dendrogram), len(dendrogram.fragment)
    rank = np.full(count, count)
    rank[order] = np.arange(len(order))
    parent = np.searchsorted(dendrogram.fragment, dendrogram.parent)
    children = np.array([merge.clusters[1] for merge in merges], np.uint64)
    first, second = _members(parent, rank, np.searchsorted(dendrogram.fragment, children))
    return first, second


@compiled
def _members(parent, rank, children):
    """The bits of both clusters; parents come first, so one pass a merge finds who is in them."""
    first = np.zeros(len(parent), np.uint64)
    second = np.zeros(len(parent), np.uint64)
    top = np.empty(len(parent), np.int64)
    for at in range(len(children)):
        child, bit = children[at], np.uint64(1) << np.uint64(at)
        for row in range(len(parent)):
            top[row] = top[parent[row]] if rank[row] < rank[child] else row
            if top[row] == parent[child]:
                first[row] |= bit
            elif top[row] == child:
                second[row] |= bit
    return first, second


@compiled
def _is_new(found, count, one, other):
    """Whether these two objects have not been joined by a merge that was found before."""
    for row in range(count):
        a, b = found[row, 1], found[row, 2]
        if (a == one and b == other) or (a == other and b == one):
            return False
    return True


@compiled
def _walk(node, truth, voxels, truth_size, is_object, nodes, child, parent, least, wanted):
    """The false merges, (m, 5) uint64: merge, object and object, voxels and voxels; and what they cost, times all.

    node, truth, voxels, truth_size, is_object: as for `walk`. child, parent: the merges, in order.
    """
    state, used = begin(node, truth, voxels, truth_size, is_object, nodes), len(node)
    best = state[6]
    best_truth = state[7]
    present = np.zeros(nodes, np.uint8)
    squares = np.zeros((2, 2), np.uint64)
    logs = np.zeros((2, 2), np.int64)
    counts = np.zeros(3, np.int64)
    length, parents = np.bincount(node, minlength=nodes), np.arange(nodes)
    found = np.zeros((wanted, 5), np.uint64)
    costs = np.zeros(wanted)
    count = 0
    for merge in range(len(child)):
        if count == wanted:
            break
        kept, gone = root(parents, parent[merge]), root(parents, child[merge])
        one, other = best_truth[kept], best_truth[gone]
        is_false = best[kept] >= least and best[gone] >= least and one != other
        if is_false and _is_new(found, count, one, other):
            found[count, 0] = merge
            found[count, 1] = one
            found[count, 2] = other
            found[count, 3], found[count, 4] = best[kept], best[gone]
        else:
            is_false = False
        if length[kept] < length[gone]:
            kept, gone = gone, kept
        # Sums of this merge alone: the difference of two sums over the volume would lose digits.
        logs[:] = 0
        used += merge_clusters(kept, gone, present, state, is_object, squares, logs, counts)
        parents[gone] = kept
        length[kept] += length[gone]
        if is_crowded(state[2], used):
            used = refill(state[2], state[0])
        if is_false:
            costs[count] = (logs[1, 0] - logs[0, 0]) + (logs[1, 1] - logs[0, 1]) / PER_BIT
            count += 1
    return found[:count], costs[:count]
