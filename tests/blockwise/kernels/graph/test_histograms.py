"""Statistics read from histograms: what they are, and that merges in any order give one dendrogram."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from blockwise.errors import BadInput
from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.graph.edges import EDGE, HISTOGRAM, count_edges, count_histograms
from blockwise.kernels.graph.histograms import merge_histograms, rename_histograms
from blockwise.kernels.graph.rules import STATISTICS, MergeRules, Statistic
from blockwise.kernels.tables import relabel
from blockwise.kernels.watershed.rules import WatershedRules
from tests.blockwise.kernels.graph.test_agglomeration import as_dict
from tests.support.affinities import BLOCKS, LONG, NEAREST, blocks, box, fragments, noise
from tests.support.waterz import waterz_reference

ALL = pytest.mark.parametrize("statistic", STATISTICS)
NOT_REDUCIBLE = {"sum": sum, "contact area": len, "range": lambda ordered: ordered[-1] - ordered[0]}
"""Statistics by which an edge made of two may be better than both."""


def by(statistic):
    """Merge by the statistic until nothing is left."""
    return MergeRules(statistic=statistic, stop=0)


def random_graph(seed, nodes=12, pairs=30, levels=4):
    """{pair of fragments: Counter of affinities}, each pair with one to six affinities of a few levels."""
    rng = np.random.default_rng(seed)
    graph = {}
    for u, v in rng.integers(1, nodes, (pairs, 2)).tolist():
        if u != v:
            values = rng.integers(0, levels, rng.integers(1, 7)) * (255 // (levels - 1))
            graph[frozenset((u, v))] = Counter(values.tolist())
    return graph


def tables(graph):
    """EDGE and HISTOGRAM rows of a graph, in no order."""
    edges, rows = [], []
    for pair, values in graph.items():
        ends = min(pair), max(pair)
        edges.append((*ends, sum(value * count for value, count in values.items()), values.total()))
        rows += [(*ends, value, count) for value, count in values.items()]
    return np.array(edges, EDGE), np.array(rows, HISTOGRAM)


def slow_score(values, statistic):
    """The statistic of all affinities, by sorting them."""
    ordered = sorted(values.elements())
    if statistic == "mean":
        return Fraction(sum(ordered), len(ordered)) / 255
    if statistic == "max":
        return Fraction(ordered[-1], 255)
    if statistic in NOT_REDUCIBLE:
        return Fraction(NOT_REDUCIBLE[statistic](ordered))
    return Fraction(2 * ordered[int(statistic.removeprefix("quantile_")) * len(ordered) // 100] + 1, 512)


def slow_merges(graph, statistic, rng=None, worse=max):
    """{fragment: (parent, score)}: best edge first, or with `rng` any edge that is the best of both its ends."""
    order = sorted(graph, key=sorted)
    state = {pair: (graph[pair], tau) for tau, pair in enumerate(order)}
    merges = {}
    while state:
        keys = {pair: (slow_score(values, statistic), -tau) for pair, (values, tau) in state.items()}
        best = [pair for pair in keys if keys[pair] == max(keys[other] for other in keys if other & pair)]
        pair = max(best, key=keys.get) if rng is None else best[rng.integers(len(best))]
        if rng is None and keys[pair][0] <= 0:
            break
        if keys[pair][0] <= 0:
            del state[pair]
            continue
        kept, gone = min(pair), max(pair)
        merges[gone] = (kept, float(keys[pair][0]))
        del state[pair]
        for old in [other for other in state if gone in other]:
            values, tau = state.pop(old)
            new = old - {gone} | {kept}
            before, known = state.get(new, (Counter(), tau))
            state[new] = (before + values, worse(tau, known))
    return merges


def partitions(merges, scores):
    """The clusters above every one of the scores."""
    found = []
    for limit in scores:
        parent = {child: up for child, (up, score) in merges.items() if score >= limit}
        clusters = {}
        for at in sorted({*merges, *(up for up, _ in merges.values())}):
            top = at
            while top in parent:
                top = parent[top]
            clusters.setdefault(top, []).append(at)
        found.append(clusters)
    return found


@ALL
def test_merges_are_those_of_a_greedy_loop(statistic):
    """The kernel merges what a loop over all edges with exact fractions and sorted affinities merges."""
    for seed in range(15):
        graph = random_graph(seed, nodes=10 + seed, pairs=25 + 3 * seed, levels=(2, 4, 256)[seed % 3])
        edges, rows = tables(graph)
        found = as_dict(agglomerate(edges, 255, by(statistic), histograms=rows))
        slow = slow_merges(graph, statistic)
        assert {child: parent for child, (parent, _) in found.items()} == {c: parent for c, (parent, _) in slow.items()}
        assert all(found[child][1] == pytest.approx(score, rel=1e-15) for child, (_, score) in slow.items())


@ALL
def test_merges_in_any_order_give_the_same_dendrogram(statistic):
    """Every maximal sequence of merging edges that are the best of both their ends gives the greedy clusters."""
    for seed in range(25):
        graph = random_graph(seed)
        greedy = slow_merges(graph, statistic)
        scores = {score for _, score in greedy.values()}
        any_order = slow_merges(graph, statistic, np.random.default_rng(seed))
        assert {score for _, score in any_order.values()} == scores
        assert partitions(any_order, scores) == partitions(greedy, scores)


@pytest.mark.parametrize("statistic", NOT_REDUCIBLE)
def test_a_statistic_that_is_not_reducible_is_noticed(statistic):
    """Negative control: the test above fails for statistics that are not offered, and their names are refused."""
    different = 0
    for seed in range(25):
        graph = random_graph(seed)
        greedy, other = (slow_merges(graph, statistic, rng) for rng in (None, np.random.default_rng(seed)))
        scores = {score for _, score in greedy.values()}
        different += {score for _, score in other.values()} != scores or partitions(other, scores) != partitions(
            greedy, scores
        )
    assert different
    assert statistic not in STATISTICS
    with pytest.raises(ValueError, match="no such statistic"):
        by(statistic)


@pytest.mark.parametrize("statistic", ["quantile_50", "quantile_75"])
def test_inheriting_the_better_tie_is_noticed(statistic):
    """Negative control: if a merged edge kept the smaller tau, the order of merges would change the result."""
    different = 0
    for seed in range(60):
        graph, rng = random_graph(seed), np.random.default_rng(seed)
        greedy, other = (slow_merges(graph, statistic, choose, min) for choose in (None, rng))
        scores = {score for _, score in greedy.values()}
        different += partitions(other, scores) != partitions(greedy, scores)
    assert different


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_histograms_are_counts_over_all_pairs_of_voxels(block, dtype):
    """Counted in blocks, added up in any order: the same rows as a loop over all voxels gives."""
    ids = np.random.default_rng(0).integers(0, 5, (5, 6, 7)).astype(np.uint64) ** np.uint64(15)
    affinities, parts = noise(ids.shape, dtype=dtype, channels=len(LONG)), []
    for begin, end in blocks(ids.shape, block):
        margin = [min(far, b) for far, b in zip((2, 3, 4), begin, strict=True)]
        grown = ids[box([b - m for b, m in zip(begin, margin, strict=True)], end)]
        parts.append(count_histograms(grown, affinities[(slice(None), *box(begin, end))], LONG, margin))
    slow = Counter()
    for channel, offset in enumerate(LONG):
        for at in np.ndindex(ids.shape):
            other = tuple(np.add(at, offset))
            if min(other) >= 0 and ids[at] != ids[other] and ids[at] and ids[other]:
                value = int(affinities[(channel, *at)]) * 256 // np.iinfo(dtype).max
                slow[*sorted((int(ids[at]), int(ids[other]))), min(255, value)] += 1
    assert merge_histograms(parts).tolist() == [(*key, count) for key, count in sorted(slow.items())]


def test_histograms_are_renamed_as_edges_are():
    """Rows of pairs that become one are added, those within one fragment dropped."""
    rows = np.array([(1, 2, 7, 1), (1, 3, 7, 2), (2, 3, 9, 4), (4, 5, 1, 1)], HISTOGRAM)
    renamed = rename_histograms(rows, np.array([3, 5], np.uint64), np.array([2, 1], np.uint64))
    assert renamed.tolist() == [(1, 2, 7, 3), (1, 4, 1, 1)]


@pytest.mark.parametrize("percent", [10, 45, 50, 75, 95])
def test_quantiles_are_those_of_waterz(percent):
    """Two fragments merge just below the score and not just above it, whatever the number of their affinities."""
    for width in range(1, 9):
        affinities = noise((2, 3, width), 256, seed=width)
        ids = np.repeat(np.array([1, 3 * width + 1], np.uint64), 3 * width).reshape(2, 3, width)
        counted = (ids, affinities, NEAREST, (0, 0, 0))
        rules, rows = by(f"quantile_{percent}"), count_histograms(*counted)
        tree = agglomerate(count_edges(*counted), 255, rules, histograms=rows)
        limits = [tree.score[1] + 0.001, tree.score[1] - 0.001]
        theirs = waterz_reference(
            affinities.astype(np.float32) / 255, ids, Statistic(f"waterz:hist_quant_{percent}"), limits
        )
        assert [len(np.unique(segments)) for segments in theirs] == [2, 1]


def test_quantile_agglomeration_equals_waterz_until_edges_tie():
    """Segments of a volume are those of waterz at the thresholds where no tie has mattered yet."""
    affinities = noise((14, 15, 16), 256, seed=10)
    ids = fragments(affinities, WatershedRules(smooth=0.5, affinity_weight=0, dip=0, cap=None))
    counted = (ids, affinities, NEAREST, (0, 0, 0))
    rows = count_histograms(*counted)
    tree = agglomerate(count_edges(*counted), 255, by("quantile_10"), nodes=np.unique(ids), histograms=rows)
    limits = (0.9, 0.8, 0.7, 0.6)
    theirs = waterz_reference(affinities.astype(np.float32) / 255, ids, Statistic("waterz:hist_quant_10"), limits)
    for limit, segments in zip(limits, theirs, strict=True):
        assert np.array_equal(relabel(ids, tree.fragment, cut(tree, limit)), segments)
    assert np.count_nonzero(tree.score > 0.6) > 100


def test_missing_histograms_are_refused():
    """A statistic other than the mean needs the histogram of every edge, and of no other pair."""
    edges, rows = tables(random_graph(0))
    with pytest.raises(BadInput, match=r"histograms.*needed for max"):
        agglomerate(edges, 255, by("max"))
    with pytest.raises(BadInput, match="histograms"):
        agglomerate(edges, 255, by("max"), histograms=rows[rows["u"] != rows["u"][0]])
    with pytest.raises(BadInput, match="below 2"):
        merge_histograms([np.array([(1, 2**60, 3, 4)], HISTOGRAM)])
