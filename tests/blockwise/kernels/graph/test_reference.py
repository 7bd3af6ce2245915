"""Our agglomeration agrees with waterz, and only what needs no compiler is offered."""

from __future__ import annotations

import numpy as np

from blockwise.kernels.graph.agglomeration import agglomerate, cut
from blockwise.kernels.graph.edges import count_edges
from blockwise.kernels.graph.reference import scoring_functions
from blockwise.kernels.graph.rules import OF_WATERZ, Statistic
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap, relabel
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import ALL_MERGES, NEAREST, fragments, noise
from tests.support.waterz import waterz_reference

THRESHOLDS = (0.6, 0.45, 0.5, 0.4, 0.55)


def test_mean_agglomeration_equals_waterz():
    """On affinities of 16 bits without ties, segments are those of waterz: VOI 0 and the same ids."""
    affinities = noise((16, 17, 18), 65536, dtype=np.uint16)
    ids = fragments(affinities, WatershedRules(smooth=0.5, cap=None))
    edges = count_edges(ids, affinities, NEAREST, (0, 0, 0))
    dendrogram = agglomerate(edges, 65535, ALL_MERGES, nodes=np.unique(ids))
    theirs = waterz_reference(affinities.astype(np.float32) / 65535, ids, Statistic("waterz:mean"), THRESHOLDS)
    for threshold, reference in zip(THRESHOLDS, theirs, strict=True):
        ours = relabel(ids, dendrogram.fragment, cut(dendrogram, threshold))
        assert score(count_overlap(ours, reference), ignore=()).voi_sum == 0
        assert np.array_equal(ours, reference)
        assert 1 < len(np.unique(ours)) < len(np.unique(ids))


def test_every_name_offered_runs_without_a_compiler():
    """All scoring functions are among those that waterz ships compiled."""
    from waterz._codegen import iter_specs, normalize

    shipped = {normalize(spec.scoring_function) for spec in iter_specs()}
    assert {normalize(function) for function in scoring_functions().values()} <= shipped
    assert set(scoring_functions()) == set(OF_WATERZ)


def test_background_stays_background():
    """Fragment 0 is no node of the reference."""
    affinities = noise((6, 7, 8))
    ids = fragments(affinities, WatershedRules(background=0.7))
    assert (ids == 0).any()
    (segments,) = waterz_reference(affinities.astype(np.float32) / 255, ids, Statistic("waterz:hist_quant_50"), [0.3])
    assert np.array_equal(segments == 0, ids == 0)
    assert np.isin(segments, ids).all()
