"""A graph solved in boxes has the dendrogram of the whole graph."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from blockwise.kernels.graph import boxes, merging
from blockwise.kernels.graph.agglomeration import agglomerate
from blockwise.kernels.graph.boxes import WHERE, assemble, group, join, leaf
from blockwise.kernels.graph.edges import count_edges, count_histograms
from blockwise.kernels.graph.rules import MergeRules
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import ALL_MERGES, NEAREST, box, fragments, noise

SHAPE = (12, 15, 18)
LEAVES = [(6, 8, 9), (4, 15, 6), (3, 5, 18), (12, 15, 1), (5, 4, 7)]
SHAPES = pytest.mark.parametrize("shape", LEAVES, ids=str)


@pytest.fixture(scope="module")
def volume():
    """Fragments and affinities of four levels, so that most edges tie."""
    affinities = noise(SHAPE, 4, seed=7)
    return fragments(affinities, WatershedRules(smooth=0, affinity_weight=0, dip=0, cap=None)), affinities


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


def spread(parts):
    """WHERE of all fragments with edges in more than one leaf."""
    leaves = {}
    for place, (edges, _) in enumerate(parts):
        for fragment in np.unique([edges["u"], edges["v"]]).tolist():
            leaves.setdefault(fragment, []).append(place)
    rows = [(fragment, min(places), max(places)) for fragment, places in leaves.items() if len(places) > 1]
    return np.array(sorted(rows), WHERE)


def halves(first, end):
    """The boxes of leaves `first` to `end`, cut in two again and again, each after those within it."""
    if end - first < 2:
        return [(first, end)]
    middle = (first + end) // 2
    return [*halves(first, middle), *halves(middle, end), (first, end)]


def in_boxes(parts, rules, nodes, limit=10**9):
    """The dendrogram of leaves given as (edges, histograms), and the merges found in them; limit: edges of a box."""
    spans, where, merges = halves(0, len(parts)), spread(parts), []
    graphs = [leaf(edges, where, None if rules.statistic == "mean" else bins) for edges, bins in parts]
    waiting = []
    for place, graph in enumerate(graphs):
        found, rest = boxes.solve_box(graph, (place, place + 1), 255, rules)
        merges.append(found)
        waiting.append(((place, place + 1), rest))
    inside = list(merges)
    while len(waiting) > 1:
        needs = [rest.size for _, rest in waiting]
        for places in reversed(group([span for span, _ in waiting], needs, spans, limit)):
            some = waiting[places[0] : places[-1] + 1]
            span = some[0][0][0], some[-1][0][1]
            found, rest = boxes.solve_box(join([graph for _, graph in some]), span, 255, rules)
            merges.append(found)
            waiting[places[0] : places[-1] + 1] = [(span, rest)]
    return assemble(nodes, reversed(merges)), inside


def at_once(volume, rules):
    ids, affinities = volume
    counted = (ids, affinities, NEAREST, (0, 0, 0))
    bins = None if rules.statistic == "mean" else count_histograms(*counted)
    return agglomerate(count_edges(*counted), 255, rules, nodes=np.unique(ids), histograms=bins)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@SHAPES
@pytest.mark.parametrize("stop", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("statistic", ["mean", "max", "quantile_25", "quantile_75"])
def test_boxes_equal_the_whole_graph(volume, shape, stop, statistic):
    """Parents and scores are the same for every leaf shape, stop, statistic and grouping, with massive ties."""
    rules = MergeRules(statistic=statistic, stop=stop)
    wanted = at_once(volume, rules)
    for limit in (0, 400, 10**9):
        tree, _ = in_boxes(graphs(volume, shape), rules, np.unique(volume[0]), limit)
        assert same(tree, wanted)
    assert (wanted.score > 0).any()


@pytest.mark.parametrize("statistic", ["mean", "quantile_75"])
@pytest.mark.parametrize("most_edges", [0, 7])
def test_boxes_equal_the_whole_graph_whichever_way_they_merge(volume, statistic, most_edges, monkeypatch):
    """Boxes that merge from the heap alone, or in part, give the same as the whole graph."""
    rules, nodes = MergeRules(statistic=statistic, stop=0.4), np.unique(volume[0])
    wanted = at_once(volume, rules)
    monkeypatch.setattr(merging, "MOST_EDGES", most_edges)
    for shape in LEAVES:
        assert same(in_boxes(graphs(volume, shape), rules, nodes)[0], wanted)


def test_leaves_may_be_any_share_of_the_edges(volume):
    """Exactness asks nothing of the leaves: edges dealt out at random, parts of one pair apart, give the same."""
    ((edges, bins),) = graphs(volume, SHAPE)
    where = np.random.default_rng(1).integers(0, 9, len(edges))
    rules = ALL_MERGES
    parts = [(edges[where == place], bins[:0]) for place in range(9)]
    assert same(in_boxes(parts, rules, np.unique(volume[0]))[0], at_once(volume, rules))


def test_some_merges_are_told_in_the_leaves(volume):
    """The leaves are not idle: some of the merges are found there."""
    _, inside = in_boxes(graphs(volume, (6, 8, 9)), ALL_MERGES, np.unique(volume[0]))
    assert sum(map(len, inside)) > 50


def test_freezing_more_than_is_needed_changes_nothing(volume, monkeypatch):
    """What waits for a larger box without need is merged there, as long as the last box freezes nothing."""
    needed = boxes.outside

    def eager(where, span):
        return needed(where, span) | ((where["fragment"] % 3 == 0) & (span[1] - span[0] < 8))

    monkeypatch.setattr(boxes, "outside", eager)
    parts, rules, nodes = graphs(volume, (6, 8, 9)), ALL_MERGES, np.unique(volume[0])
    assert same(in_boxes(parts, rules, nodes)[0], at_once(volume, rules))


def test_merging_what_has_edges_outside_is_noticed(volume, monkeypatch):
    """Negative control: leaves that merge fragments with edges elsewhere give another dendrogram."""
    monkeypatch.setattr(boxes, "outside", lambda where, span: np.zeros(len(where), np.bool_))
    parts, rules, nodes = graphs(volume, (6, 8, 9)), ALL_MERGES, np.unique(volume[0])
    assert not same(in_boxes(parts, rules, nodes)[0], at_once(volume, rules))


def test_ties_broken_by_the_names_of_clusters_are_noticed(volume, monkeypatch):
    """Negative control: with ties that go by the clusters an edge joins now, boxes differ from the whole."""
    solve = boxes.solve_box

    def forgetful(*given):
        merges, rest = solve(*given)
        (links,) = rest.links
        links = np.sort(links, order=["u", "v"])
        links["tie_u"], links["tie_v"] = rest.clusters[links["u"]], rest.clusters[links["v"]]
        return merges, replace(rest, links=[links])

    monkeypatch.setattr(boxes, "solve_box", forgetful)
    rules, nodes = ALL_MERGES, np.unique(volume[0])
    found = [in_boxes(graphs(volume, shape), rules, nodes)[0] for shape in LEAVES]
    assert not all(same(tree, at_once(volume, rules)) for tree in found)


def test_boxes_are_joined_within_the_limit():
    """The largest boxes that fit are formed, of eight at the most; the smallest ones if none fits."""
    spans = halves(0, 16)
    leaves = [span for span in spans if span[1] - span[0] == 1]
    assert group(leaves, [1] * 16, spans, 8) == [list(range(8)), list(range(8, 16))]
    assert group(leaves, [1] * 16, spans, 100) == [list(range(8)), list(range(8, 16))]
    assert group(leaves, [9, 9, *[1] * 14], spans, 8) == [[2, 3], [4, 5, 6, 7], list(range(8, 16))]
    assert group(leaves, [9] * 16, spans, 8) == [[at, at + 1] for at in range(0, 16, 2)]
    assert group([(0, 8), (8, 16)], [9, 9], spans, 8) == [[0, 1]]
    assert group([(0, 1), (1, 2), (2, 4)], [5, 5, 1], halves(0, 4), 10) == [[0, 1]]
