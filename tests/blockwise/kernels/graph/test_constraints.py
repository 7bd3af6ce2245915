"""Pairs that must or must not be one object, against a plain greedy loop, in any order."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.errors import BadInput
from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.graph.constraints import agglomerate_corrected
from blockwise.kernels.graph.edges import EDGE
from blockwise.kernels.graph.rules import MergeRules

NODES = 24
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)


def graph(seed: int) -> np.ndarray:
    """Random edges with few different affinities, so that many tie."""
    rng = np.random.default_rng(seed)
    u, v = np.triu_indices(NODES, 1)
    chosen = rng.random(len(u)) < 0.25
    edges = np.empty(np.count_nonzero(chosen), EDGE)
    edges["u"], edges["v"] = u[chosen] + 1, v[chosen] + 1
    edges["count"] = rng.integers(1, 4, len(edges))
    edges["sum"] = edges["count"] * rng.choice([0, 60, 120, 180, 255], len(edges))
    return edges


def pairs(seed: int, count: int) -> np.ndarray:
    """Random pairs of different nodes."""
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(np.arange(1, NODES + 1), 2, replace=False) for _ in range(count)], np.uint64).reshape(
        -1, 2
    )


def slow(edges: np.ndarray, together: np.ndarray, apart: np.ndarray, threshold: float) -> list[frozenset[int]]:
    """Merge the best pair of clusters that need not stay apart, ties by the worst edge between them, one at a time."""
    clusters = [frozenset([node]) for node in range(1, NODES + 1)]
    for one, other in together.tolist():
        both = [cluster for cluster in clusters if cluster & {one, other}]
        clusters = [cluster for cluster in clusters if cluster not in both] + [frozenset().union(*both)]
    head = {node: min(cluster) for cluster in clusters for node in cluster}
    rows: dict[tuple[int, int], list[int]] = {}
    for row in edges:
        key = tuple(sorted((head[int(row["u"])], head[int(row["v"])])))
        if key[0] != key[1]:
            found = rows.setdefault(key, [0, 0])
            found[0] += int(row["sum"])
            found[1] += int(row["count"])
    ranked = {key: (*rows[key], rank) for rank, key in enumerate(sorted(rows))}
    while True:
        best = None
        for at, one in enumerate(clusters):
            for other in clusters[at + 1 :]:
                between = [value for (u, v), value in ranked.items() if {u, v} & one and {u, v} & other]
                kept_apart = any(({a, b} & one) and ({a, b} & other) for a, b in apart.tolist())
                if not between or kept_apart:
                    continue
                total, count = sum(value[0] for value in between), sum(value[1] for value in between)
                score = total / count / 255
                key = (score, -max(value[2] for value in between))
                if score > threshold and (best is None or key > best[0]):
                    best = (key, one, other)
        if best is None:
            return clusters
        clusters = [cluster for cluster in clusters if cluster not in best[1:]] + [best[1] | best[2]]


def consistent(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A graph and pairs that do not contradict each other."""
    together, apart = pairs(seed, 3), pairs(seed + 1000, 4)
    root = {node: {node} for node in range(1, NODES + 1)}
    for one, other in together.tolist():
        both = root[one] | root[other]
        for node in both:
            root[node] = both
    return graph(seed), together, np.array([pair for pair in apart.tolist() if pair[1] not in root[pair[0]]], np.uint64)


def corrected(edges: np.ndarray, together: np.ndarray, apart: np.ndarray):
    """The dendrogram."""
    return agglomerate_corrected(edges, 255, MergeRules(), np.arange(1, NODES + 1, dtype=np.uint64), together, apart)


@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_honoured_as_by_a_greedy_loop(seed):
    """At every threshold the objects are those of merging the best allowed pair of clusters, one at a time."""
    edges, together, apart = consistent(seed)
    tree = corrected(edges, together, apart)
    for threshold in THRESHOLDS:
        segment = dict(zip(tree.fragment.tolist(), cut(tree, threshold).tolist(), strict=True))
        found = {frozenset(node for node in segment if segment[node] == name) for name in set(segment.values())}
        assert found == set(slow(edges, together, apart, threshold))
        assert all(segment[one] == segment[other] for one, other in together.tolist())
        assert all(segment[one] != segment[other] for one, other in apart.tolist())


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_edges_and_pairs_does_not_matter(seed):
    """Shuffled rows and pairs, either end first, give the same dendrogram to the last bit."""
    edges, together, apart = consistent(seed)
    rng = np.random.default_rng(seed)
    first = corrected(edges, together, apart)
    other = corrected(rng.permutation(edges), rng.permutation(together)[:, ::-1], rng.permutation(apart)[:, ::-1])
    for name in ("fragment", "parent", "score"):
        np.testing.assert_array_equal(getattr(first, name), getattr(other, name))


def test_without_pairs_nothing_changes():
    """No correction gives the dendrogram of `agglomerate`."""
    none = np.empty((0, 2), np.uint64)
    nodes = np.arange(1, NODES + 1, dtype=np.uint64)
    plain = agglomerate(graph(3), 255, MergeRules(), nodes)
    found = corrected(graph(3), none, none)
    for name in ("fragment", "parent", "score"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(found, name))


@pytest.mark.parametrize(
    ("together", "apart", "message"), [([[1, 2], [2, 3]], [[1, 3]], "by joins they must"), ([], [[4, 4]], "never cut")]
)
def test_contradictions_are_refused(together, apart, message):
    """Pairs that must and must not be one object are named."""
    with pytest.raises(BadInput, match=message):
        corrected(graph(0), np.array(together, np.uint64).reshape(-1, 2), np.array(apart, np.uint64))
