"""Segmentation without learning."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.experiments.baselines import baseline_otsu
from contraband.quick.otsu import otsu_threshold
from tests.support.paths import real_data
from tests.support.scores import variation_of_information


def test_two_bright_rooms_are_two_segments():
    """A dark wall parts them, and its voxels go to the nearer room."""
    raw = np.full((12, 12, 21), 200, np.uint8)
    raw[:, :, 9:11] = 20
    found = baseline_otsu(raw)
    assert len(np.unique(found)) == 2
    assert (found[:, :, :9] == found[0, 0, 0]).all()
    assert (found[:, :, 11:] == found[-1, -1, -1]).all()


@pytest.mark.parametrize("value", [0, 7, 255])
def test_an_empty_image_is_one_segment(value):
    """Without contrast there is nothing to part."""
    assert (baseline_otsu(np.full((3, 4, 5), value, np.uint8)) == 1).all()


def test_the_threshold_lies_between_two_groups():
    """Otsu's threshold parts two clouds of values of different size."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(50, 5, 9000), rng.normal(150, 10, 1000)])
    assert 65 < otsu_threshold(values) < 125


@pytest.mark.real_data("fib25.npz")
def test_the_reference_on_the_test_half_of_fib25():
    """The figures that others report for it: 2.33 bits on bodies of at least 1000 voxels."""
    with np.load(real_data("fib25.npz"), allow_pickle=False) as data:
        raw, labels = data["raw"][125:], data["labels"][125:]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    judged = sizes[labels] >= 1000
    found = variation_of_information(baseline_otsu(raw)[judged], labels[judged])
    assert sum(found) == pytest.approx(2.33, abs=0.02)
