"""A graph solved in boxes has the dendrogram of the whole graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from blockwise.kernels import boxes, merging
from blockwise.kernels.agglomeration import agglomerate
from blockwise.kernels.boxes import Graph, Rules, halves, leaf, solve_boxes, spread
from blockwise.kernels.edges import count_edges, count_histograms
from blockwise.kernels.watershed import Rules as Watershed
from tests.blockwise.kernels.volumes import NEAREST, box, fragments, noise

SHAPE = (12, 15, 18)
LEAVES = [(6, 8, 9), (4, 15, 6), (3, 5, 18), (12, 15, 1), (5, 4, 7)]
SHAPES = pytest.mark.parametrize("shape", LEAVES, ids=str)


class Dictionary:
    """A shelf in memory."""

    def __init__(self):
        self.found, self.rests = {}, {}

    def has(self, span):
        return span in self.found

    def put(self, span, merges, rest):
        self.found[span], self.rests[span] = merges, rest

    def rest(self, span):
        return self.rests[span]

    def drop_rest(self, span):
        self.rests[span] = None

    def merges(self, span):
        return self.found[span]


@pytest.fixture(scope="module")
def volume():
    """Fragments and affinities of four levels, so that most edges tie."""
    affinities = noise(SHAPE, 4, seed=7)
    return fragments(affinities, Watershed(smooth=0, affinity_weight=0, dip=0, cap=None)), affinities


def graphs(volume, shape, seed=0):
    """The edges and histograms counted in leaves of one shape, rows shuffled."""
    ids, affinities = volume
    rng, found = np.random.default_rng(seed), []
    for begin in itertools.product(*(range(0, size, step) for size, step in zip(SHAPE, shape, strict=True))):
        end = [min(size, b + step) for size, b, step in zip(SHAPE, begin, shape, strict=True)]
        margin = [min(1, b) for b in begin]
        grown = ids[box([b - m for b, m in zip(begin, margin, strict=True)], end)]
        counted = (grown, affinities[(slice(None), *box(begin, end))], NEAREST, margin)
        found.append((rng.permutation(count_edges(*counted)), rng.permutation(count_histograms(*counted))))
    return found


def in_boxes(parts, rules, nodes, shelf=None):
    """The dendrogram of leaves given as (edges, histograms)."""
    where = spread(nodes, ((place, edges) for place, (edges, _) in enumerate(parts)))
    loaded = [leaf(edges, None if rules.statistic == "mean" else bins) for edges, bins in parts]
    return solve_boxes(halves(0, len(parts)), loaded.__getitem__, where, rules, shelf or Dictionary())


def at_once(volume, rules):
    ids, affinities = volume
    counted = (ids, affinities, NEAREST, (0, 0, 0))
    bins = None if rules.statistic == "mean" else count_histograms(*counted)
    return agglomerate(count_edges(*counted), *rules, nodes=np.unique(ids), histograms=bins)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@SHAPES
@pytest.mark.parametrize("stop", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("statistic", ["mean", "max", "quantile_25", "quantile_75"])
def test_boxes_equal_the_whole_graph(volume, shape, stop, statistic):
    """Parents and scores are the same for every leaf shape, stop and statistic, on affinities with massive ties."""
    rules = Rules(255, statistic, stop)
    tree = in_boxes(graphs(volume, shape), rules, np.unique(volume[0]))
    assert same(tree, at_once(volume, rules))
    assert (tree.score > 0).any()


@pytest.mark.parametrize("statistic", ["mean", "quantile_75"])
@pytest.mark.parametrize("most_edges", [0, 7])
def test_boxes_equal_the_whole_graph_whichever_way_they_merge(volume, statistic, most_edges, monkeypatch):
    """Boxes that merge from the heap alone, or in part, give the same as the whole graph."""
    rules, nodes = Rules(255, statistic, 0.4), np.unique(volume[0])
    wanted = at_once(volume, rules)
    monkeypatch.setattr(merging, "MOST_EDGES", most_edges)
    for shape in LEAVES:
        assert same(in_boxes(graphs(volume, shape), rules, nodes), wanted)


def test_leaves_may_be_any_share_of_the_edges(volume):
    """Exactness asks nothing of the leaves: edges dealt out at random, parts of one pair apart, give the same."""
    (edges, bins), = graphs(volume, SHAPE)
    where = np.random.default_rng(1).integers(0, 9, len(edges))
    rules = Rules(255)
    parts = [(edges[where == place], bins[:0]) for place in range(9)]
    assert same(in_boxes(parts, rules, np.unique(volume[0])), at_once(volume, rules))


def test_some_merges_are_told_in_the_leaves(volume):
    """The leaves are not idle: some of the merges are found there, and less goes on than came in."""
    shelf, parts = Dictionary(), graphs(volume, (6, 8, 9))
    in_boxes(parts, Rules(255), np.unique(volume[0]), shelf)
    leaves = [merges for (first, end), merges in shelf.found.items() if end - first == 1]
    assert sum(map(len, leaves)) > 50


def test_finished_boxes_are_not_solved_again(volume, monkeypatch):
    """With a shelf that has the first boxes, only the others are solved, and the result is the same."""
    parts, rules, nodes = graphs(volume, (6, 8, 9)), Rules(255), np.unique(volume[0])
    shelf, solve = Dictionary(), boxes.solve_box
    calls = iter([True] * 6)

    def dies(*given):
        if not next(calls, False):
            raise KeyboardInterrupt
        return solve(*given)

    monkeypatch.setattr(boxes, "solve_box", dies)
    with pytest.raises(KeyboardInterrupt):
        in_boxes(parts, rules, nodes, shelf)
    calls = iter([True] * (len(halves(0, len(parts))) - 6))
    assert same(in_boxes(parts, rules, nodes, shelf), at_once(volume, rules))


def test_merging_what_has_edges_outside_is_noticed(volume, monkeypatch):
    """Negative control: leaves that merge fragments with edges elsewhere give another dendrogram."""
    monkeypatch.setattr(boxes.Spread, "outside", lambda self, ids, span: np.zeros(len(ids), np.bool_))
    parts, rules, nodes = graphs(volume, (6, 8, 9)), Rules(255), np.unique(volume[0])
    assert not same(in_boxes(parts, rules, nodes), at_once(volume, rules))


def test_ties_broken_by_the_names_of_clusters_are_noticed(volume, monkeypatch):
    """Negative control: with ties that go by the clusters an edge joins now, boxes differ from the whole."""
    solve = boxes.solve_box

    def forgetful(*given):
        merges, rest = solve(*given)
        links = rest.links.copy()
        links["tie_u"], links["tie_v"] = links["u"], links["v"]
        return merges, Graph(links[np.lexsort((links["v"], links["u"]))], rest.histograms)

    monkeypatch.setattr(boxes, "solve_box", forgetful)
    rules, nodes = Rules(255), np.unique(volume[0])
    found = [in_boxes(graphs(volume, shape), rules, nodes) for shape in LEAVES]
    assert not all(same(tree, at_once(volume, rules)) for tree in found)
