"""Published data give the published scores, and our fragments at least those of the tools before."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from blockwise.kernels.graph.agglomeration import agglomerate
from blockwise.kernels.graph.edges import count_edges
from blockwise.kernels.scores.tables import score
from blockwise.kernels.tables import count_overlap
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import ALL_MERGES, NEAREST, fragments
from tests.support.paths import real_data
from tests.support.scoring import sweep


def to_affinities(boundary):
    """Affinities, uint8, of the probability that a voxel is boundary: what the worse voxel of two leaves."""
    joined = []
    for axis in range(3):
        before = np.concatenate([np.take(boundary, [0], axis), np.delete(boundary, -1, axis)], axis)
        joined.append(1 - np.maximum(boundary, before))
    return np.round(255 * np.stack(joined)).astype(np.uint8)


@pytest.mark.real_data("gala.npz")
def test_neuropil_is_segmented_better_than_by_a_seeded_watershed():
    """Best VOI below 0.205 bits (a distance-seeded watershed of the whole volume: 0.226), with a small graph."""
    with np.load(real_data("gala.npz"), allow_pickle=False) as data:
        affinities, labels = to_affinities(data["boundary_prob"]), data["labels"]
    ids = fragments(affinities, WatershedRules(), (32, 64, 64))
    edges = count_edges(ids, affinities, NEAREST, (0, 0, 0))
    dendrogram = agglomerate(edges, 255, ALL_MERGES, nodes=np.unique(ids))
    found = sweep(count_overlap(ids, labels), dendrogram, np.linspace(0, 1, 101).tolist(), (0,))
    assert min(one.voi_sum for one in found) < 0.205
    assert len(edges) < 0.01 * ids.size


@pytest.mark.real_data("fib25.npz")
def test_published_segmentations_of_neuropil_score_as_published():
    """One label 4.25 bits, supervoxels 2.32 and 75 bodies, a published result 1.76 and 54, of 129 bodies."""
    with np.load(real_data("fib25.npz"), allow_pickle=False) as data:
        labels, supervoxels, published = (data[name][125:] for name in ("labels", "supervoxels", "ffn_seg"))
    ids, counts = np.unique(labels, return_counts=True)
    slivers = [0, *ids[counts < 1000].tolist()]
    nearest = ndimage.distance_transform_edt(published == 0, return_distances=False, return_indices=True)
    wanted = {(4.25, 0.70, 0): np.ones_like(labels), (2.32, 0.22, 75): supervoxels}
    wanted[1.76, 0.08, 54] = published[tuple(nearest)]
    for figures, segments in wanted.items():
        found = score(count_overlap(segments.astype(np.uint64), labels), ignore=slivers)
        assert (round(found.voi_sum, 2), round(found.arand, 2), found.matched) == pytest.approx(figures, abs=0.01)
        assert found.truth_objects == 129


@pytest.mark.parametrize(("name", "figure"), [("dsb_256x256.npz", 0.733), ("dsb_360x360.npz", 0.812)])
def test_nuclei_found_by_a_threshold_score_as_published(name, figure):
    """F1 over all images of a set, background evaluated, of Gaussian, Otsu's threshold and components."""
    with np.load(real_data(name), allow_pickle=False) as data:
        images, labels = data["raw"], data["labels"]
    segments, truth, touching = np.zeros(labels.shape, np.uint64), labels.astype(np.uint64), np.ones((3, 3))
    for at, image in enumerate(images):
        smooth = ndimage.gaussian_filter(image.astype(float), 1)
        parts, _ = ndimage.label(smooth > otsu(smooth), touching)
        segments[at] = np.where(parts, parts + at * 2**20, 0)
        truth[at] = np.where(labels[at], truth[at] + np.uint64(at * 2**20), 0)
    assert score(count_overlap(segments, truth), ignore=()).f1 == pytest.approx(figure, abs=0.002)


def otsu(image):
    """The threshold between 0 and 255 that separates two classes best (Otsu 1979)."""
    histogram = np.bincount(np.round(image).astype(int).ravel(), minlength=256).astype(float)
    weight, mass = np.cumsum(histogram), np.cumsum(histogram * np.arange(256))
    with np.errstate(all="ignore"):
        between = (mass[-1] * weight / weight[-1] - mass) ** 2 / (weight * (weight[-1] - weight))
    return np.nanargmax(between)
