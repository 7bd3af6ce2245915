"""Small segments joined with others as the definition says it, in sets and fractions, for a whole graph at once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from blockwise.kernels.graph.agglomeration import Dendrogram
from blockwise.kernels.graph.rules import SmallRules


def slow_segments(
    tree: Dendrogram, voxels: np.ndarray, edges: np.ndarray, rules: SmallRules, threshold: float
) -> np.ndarray:
    """The segment of each fragment of the tree at a threshold, 0 for background."""
    size = dict(zip(tree.fragment.tolist(), voxels.tolist(), strict=True))
    cluster = {number: frozenset([number]) for number in size}
    segment = {number: frozenset([number]) for number in size}
    for level, pair in pairs_in_order(tree, edges):
        sides = cluster[pair[0]], cluster[pair[1]]
        if sides[0] == sides[1]:
            continue
        if level > threshold or any(sum(map(size.__getitem__, side)) < rules.min_voxels for side in sides):
            unite(segment, *pair)
        unite(cluster, *pair)
    found = []
    for number in tree.fragment.tolist():
        is_isolated = sum(map(size.__getitem__, cluster[number])) < rules.min_voxels
        found.append(0 if is_isolated and rules.isolated == "background" else min(segment[number]))
    return np.array(found, np.uint64)


def pairs_in_order(tree: Dendrogram, edges: np.ndarray) -> list[tuple[float, tuple[int, int]]]:
    """Touching fragments that the tree makes one, and at which score: the best first, then by mean, then by number."""
    sums: dict[tuple[int, int], list[int]] = {}
    for u, v, total, count in edges.tolist():
        kept = sums.setdefault((u, v), [0, 0])
        kept[0] += total
        kept[1] += count
    columns = zip(tree.fragment.tolist(), tree.parent.tolist(), tree.score.tolist(), strict=True)
    above = {child: (parent, score) for child, parent, score in columns}
    found = []
    for pair, (total, count) in sums.items():
        ways = [way_up(above, number) for number in pair]
        levels = [min(ways[0][number], ways[1][number]) for number in ways[0].keys() & ways[1].keys()]
        if levels:
            found.append((max(levels), -Fraction(total, count), pair))
    return [(level, pair) for level, _, pair in sorted(found, key=lambda row: (-row[0], *row[1:]))]


def way_up(above: dict[int, tuple[int, float]], number: int) -> dict[int, float]:
    """The ancestors of a fragment, itself included, and the least score on the way to each."""
    found, least = {number: 1.0}, 1.0
    while above[number][0] != number:
        number, score = above[number]
        least = min(least, score)
        found[number] = least
    return found


def unite(clusters: dict[int, frozenset[int]], one: int, other: int) -> None:
    """Make the clusters of two fragments one."""
    both = clusters[one] | clusters[other]
    for number in both:
        clusters[number] = both
