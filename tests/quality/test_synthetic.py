"""Made-up neuropil is segmented well, with thick membranes and with membranes that have no thickness."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.kernels.watershed.rules import WatershedRules
from contraband.demo.synthetic import neurites
from tests.support.measuring import merged_voi, ours, waterz_best
from tests.support.synthetic_affinities import affinities_from_labels, thin_affinities


def test_thick_membranes_are_segmented_better_than_by_waterz() -> None:
    """At a threshold chosen on another volume, VOI is below half of what waterz reaches at its best one.

    waterz with its own watershed. With our fragments it merges as we do, and is never better at its best threshold.
    """
    chosen_on, truth = (neurites((56, 72, 72), seed, 16.0) for seed in (1, 2))
    chosen = ours(affinities_from_labels(chosen_on, 1), chosen_on)
    affinities = affinities_from_labels(truth, 2)
    found = ours(affinities, truth)
    assert found.voi[chosen.best] < 0.5 * waterz_best(affinities, truth)
    assert found.voi[found.best] <= waterz_best(affinities, truth, found.fragments) + 1e-6
    assert found.edges_a_voxel < 0.008


@pytest.mark.parametrize("grain", [0.1, 0.35, 0.7])
def test_membranes_without_thickness_hold(grain: float) -> None:
    """Where only the steps between cells have a low affinity, cells do not merge: VOI stays below 0.3 bits of 4.9.

    Without the weight of the affinity, a voxel beside a membrane climbs to either side, and all cells merge.
    """
    truth = neurites((48, 64, 64), 2, 14.0)
    affinities = thin_affinities(truth, 2, grain=grain)
    found, without = (
        ours(affinities, truth, rules=rules) for rules in (WatershedRules(), WatershedRules(affinity_weight=0))
    )
    assert found.voi[0.5] < 0.3
    assert merged_voi(truth) > 4.5
    assert without.voi[without.best] > 2 * found.voi[0.5]


def test_thin_membranes_are_only_steps_between_cells() -> None:
    """The affinity is high within a cell and low between two, and two pieces of a volume are not alike."""
    truth = neurites((12, 14, 16), 5, 6.0)
    affinities = thin_affinities(truth, 5, grain=0.2)
    for axis in range(3):
        same = np.diff(truth.astype(np.int64), axis=axis) == 0
        levels = np.moveaxis(affinities[axis], axis, 0)[1:]
        assert (np.moveaxis(levels, 0, axis)[same] > 200).all()
        assert (np.moveaxis(levels, 0, axis)[~same] < 80).all()
