"""The dendrogram is a function of the edges alone, and the one that a greedy loop finds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from blockwise.errors import BadInput
from blockwise.kernels.graph import agglomeration, merging
from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.graph.edges import EDGE, count_edges, merge_edges, rename_edges
from blockwise.kernels.graph.rules import MergeRules
from blockwise.kernels.watershed.rules import WatershedRules
from tests.blockwise.kernels.graph.test_edges import random_edges
from tests.support.affinities import ALL_MERGES, NEAREST, fragments, noise


def slow_graph(edges):
    """Edges as {frozenset of clusters: (sum, count, tau)}, exact."""
    rows = sorted((u, v, total, count) for u, v, total, count in edges.tolist())
    return {frozenset((u, v)): (total, count, tau) for tau, (u, v, total, count) in enumerate(rows)}


def slow_merge(graph, pair):
    """Merge two clusters under the smaller name, adding edges to one neighbour."""
    kept, gone = min(pair), max(pair)
    del graph[pair]
    for old in [key for key in graph if gone in key]:
        total, count, tau = graph.pop(old)
        new = old - {gone} | {kept}
        before = graph.get(new, (0, 0, 0))
        graph[new] = (before[0] + total, before[1] + count, max(before[2], tau))
    return kept, gone


def key_of(graph, pair):
    """What decides between two edges: the exact mean, then the smaller tau."""
    return Fraction(graph[pair][0], graph[pair][1]), -graph[pair][2]


def slow_agglomerate(edges, stop=0.0, choose=max):
    """{fragment: (parent, score)} of the best edge first, in fractions; `choose` picks among candidates."""
    graph, merges = slow_graph(edges), {}
    while graph:
        pair = choose(graph, key=lambda pair: key_of(graph, pair))
        mean = graph[pair][0] / graph[pair][1] / 255
        if mean <= stop:
            break
        kept, gone = slow_merge(graph, pair)
        merges[gone] = (kept, mean)
    return merges


def as_dict(dendrogram):
    columns = (dendrogram.fragment.tolist(), dendrogram.parent.tolist(), dendrogram.score.tolist())
    return {child: (parent, score) for child, parent, score in zip(*columns, strict=True) if child != parent}


@pytest.mark.parametrize("most_edges", [0, 6, 256], ids=["heap", "both", "chains"])
@pytest.mark.parametrize("levels", [2, 4, 256])
@pytest.mark.parametrize("stop", [0.0, 0.5])
def test_merges_are_those_of_a_greedy_loop(levels, stop, most_edges, monkeypatch):
    """Chains and heap merge what a loop over all edges with exact fractions merges, ties included."""
    monkeypatch.setattr(merging, "MOST_EDGES", most_edges)
    for seed in range(25):
        edges = random_edges(seed, nodes=12 + 2 * seed, rows=30 + 8 * seed, levels=levels)
        assert as_dict(agglomerate(edges, 255, MergeRules(stop=stop))) == slow_agglomerate(edges, stop)


def tied_edges(shape=(10, 11, 12)):
    affinities = noise(shape, 4, seed=7)
    return count_edges(fragments(affinities, WatershedRules(smooth=0, cap=None)), affinities, NEAREST, (0, 0, 0))


def test_the_order_of_rows_changes_nothing():
    """Shuffled rows and parts give the same dendrogram, on affinities with four levels."""
    edges, rng = tied_edges(), np.random.default_rng(0)
    wanted = agglomerate(edges, 255, ALL_MERGES)
    for _ in range(5):
        again = agglomerate(rng.permutation(edges), 255, ALL_MERGES)
        assert all(np.array_equal(getattr(again, name), getattr(wanted, name)) for name in vars(wanted))


@pytest.mark.parametrize("stop", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("levels", [3, 256])
def test_what_waits_for_the_heap_changes_nothing(levels, stop, monkeypatch):
    """With few fragments that touch most others, all from the heap, or none, is the same as some."""
    edges = hub_edges(levels)
    wanted = agglomerate(edges, 255, MergeRules(stop=stop))
    assert (np.bincount(np.searchsorted(wanted.fragment, edges["u"])) > merging.MOST_EDGES).any()
    for most_edges in (0, 3, 20, len(edges)):
        monkeypatch.setattr(merging, "MOST_EDGES", most_edges)
        again = agglomerate(edges, 255, MergeRules(stop=stop))
        assert all(np.array_equal(getattr(again, name), getattr(wanted, name)) for name in vars(wanted))


def hub_edges(levels, fragments=4000, hubs=5):
    """Edges of a random graph, a third of them at a few hubs."""
    rng = np.random.default_rng(levels)
    edges = np.zeros(6 * fragments, EDGE)
    ends = rng.integers(1, fragments + 1, (2, len(edges)))
    ends[0, ::3] = rng.integers(1, hubs + 1, len(edges[::3]))
    edges["u"], edges["v"] = ends.min(axis=0), ends.max(axis=0)
    edges["count"] = rng.integers(1, 4, len(edges))
    edges["sum"] = rng.integers(0, levels, len(edges)) * (255 // (levels - 1)) * edges["count"]
    return merge_edges([edges[edges["u"] != edges["v"]]])


def test_a_tie_key_that_knows_the_order_of_rows_is_noticed(monkeypatch):
    """If ties went by the place of a row in the input, as blocks hand it over, shuffling would change the result."""
    edges, rng = tied_edges(), np.random.default_rng(0)
    monkeypatch.setattr(agglomeration, "merge_edges", lambda parts: parts[0])
    wanted = agglomerate(edges, 255, ALL_MERGES)
    assert any(
        not np.array_equal(agglomerate(rng.permutation(edges), 255, ALL_MERGES).parent, wanted.parent) for _ in range(5)
    )


def test_scores_never_rise_towards_the_root():
    """A fragment is taken at a score at least that of its parent, and parents are smaller."""
    dendrogram = agglomerate(tied_edges(), 255, ALL_MERGES)
    row = np.searchsorted(dendrogram.fragment, dendrogram.parent)
    assert (dendrogram.score[row] <= dendrogram.score).all()
    assert (dendrogram.parent <= dendrogram.fragment).all()
    roots = dendrogram.parent == dendrogram.fragment
    assert (dendrogram.score[roots] == 0).all()
    assert ((dendrogram.score[~roots] > 0) & (dendrogram.score[~roots] <= 1)).all()


@pytest.mark.parametrize("levels", [4, 256])
def test_cutting_equals_stopping(levels):
    """`cut` at a threshold gives the segments of a run that stopped there, also at a score that occurs; cuts nest."""
    edges = random_edges(3, nodes=200, rows=1500, levels=levels)
    whole = agglomerate(edges, 255, ALL_MERGES)
    before = None
    for threshold in sorted({0.0, 0.2, 0.5, 1.0, *whole.score[::17].tolist()}):
        segments = cut(whole, threshold)
        assert np.array_equal(segments, cut(agglomerate(edges, 255, MergeRules(stop=threshold)), 0.0))
        assert np.array_equal(segments, climb(whole, threshold))
        assert (segments[np.searchsorted(whole.fragment, segments)] == segments).all()
        if before is not None:
            assert len(np.unique(np.stack([segments, before]), axis=1).T) == len(np.unique(segments))
        before = segments
    assert np.array_equal(cut(whole, 1.0), whole.fragment)


def climb(dendrogram, threshold):
    """The segment of each fragment by following parents one at a time."""
    row = {fragment: at for at, fragment in enumerate(dendrogram.fragment.tolist())}
    segments = []
    for fragment in dendrogram.fragment.tolist():
        while dendrogram.score[row[fragment]] > threshold:
            fragment = int(dendrogram.parent[row[fragment]])
        segments.append(fragment)
    return np.array(segments, np.uint64)


def test_fragments_without_edges_are_roots():
    """Nodes that no edge mentions are in the dendrogram, and so is a graph without any edge."""
    edges = np.array([(3, 8, 255, 1)], EDGE)
    dendrogram = agglomerate(edges, 255, ALL_MERGES, nodes=np.array([9, 3, 1], np.uint64))
    assert dendrogram.fragment.tolist() == [1, 3, 8, 9]
    assert dendrogram.parent.tolist() == [1, 3, 3, 9]
    assert dendrogram.score.tolist() == [0, 0, 1, 0]
    assert len(agglomerate(edges[:0], 255, ALL_MERGES).fragment) == 0
    assert agglomerate(edges[:0], 255, ALL_MERGES, nodes=np.array([5], np.uint64)).parent.tolist() == [5]


def test_means_are_compared_exactly():
    """Quotients that are equal tie, whatever their sizes, and so the smaller pair goes first."""
    edges = np.array([(1, 2, 10, 1), (2, 3, 10 * (2**32 - 1), 2**32 - 1), (1, 4, 11, 3), (3, 4, 1, 1)], EDGE)
    merges = as_dict(agglomerate(edges, 255, ALL_MERGES))
    assert merges == slow_agglomerate(edges)
    assert merges[2] == (1, 10 / 255)


def test_a_long_chain_and_a_star_are_merged():
    """Degenerate graphs, a chain of all fragments and one fragment that touches all others, do not slow down."""
    for star in (False, True):
        edges = np.zeros(200_000, EDGE)
        edges["v"] = np.arange(2, 200_002)
        edges["u"] = 1 if star else edges["v"] - 1
        edges["count"], edges["sum"] = 7, np.random.default_rng(0).integers(1, 7 * 255, 200_000)
        dendrogram = agglomerate(edges, 255, ALL_MERGES)
        assert (cut(dendrogram, 0.0) == 1).all()
        assert np.array_equal(np.sort(dendrogram.score[1:]), np.sort(edges["sum"] / edges["count"] / 255))


def test_renaming_after_a_cut_gives_the_edges_left():
    """Edges renamed to the segments of a cut are those that a run which stopped there still has."""
    edges = random_edges(5, nodes=60, rows=300)
    dendrogram = agglomerate(edges, 255, ALL_MERGES)
    left = rename_edges(merge_edges([edges]), dendrogram.fragment, cut(dendrogram, 0.5))
    assert (left["sum"] / left["count"] / 255).max() <= 0.5
    again, whole = agglomerate(left, 255, ALL_MERGES), cut(dendrogram, 0.2)
    assert np.array_equal(cut(again, 0.2), whole[np.searchsorted(dendrogram.fragment, again.fragment)])


def test_impossible_graphs_are_refused():
    """A statistic by which only waterz merges, thresholds and edges that cannot be are refused."""
    good = np.array([(1, 2, 10, 1)], EDGE)
    with pytest.raises(BadInput, match=r"statistic.*only waterz.*waterz:mean"):
        agglomerate(good, 255, MergeRules(statistic="waterz:mean"))
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(BadInput, match="threshold"):
            cut(agglomerate(good, 255, ALL_MERGES), threshold)
    for bad in ((1, 1, 10, 1), (1, 2, 0, 0), (1, 2, 256, 1)):
        with pytest.raises(BadInput, match="edges"):
            agglomerate(np.array([bad], EDGE), 255, ALL_MERGES)
