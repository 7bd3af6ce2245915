"""The made-up tissue: a voxel is the same in every box, and the whole looks like what a network predicts."""

from __future__ import annotations

import hashlib

import cc3d
import numpy as np
import pytest

from blockwise.files.synthetic import MOST_VOXELS
from blockwise.kernels.synthetic.threads import LENGTH
from blockwise.kernels.synthetic.tissue import made_up_affinities, made_up_labels
from tests.support.measuring import ours

FAR = MOST_VOXELS - 100
BOXES = [
    ((0, 0, 0), (40, 50, 60)),
    ((LENGTH - 20, 1000, 5), (LENGTH + 20, 1050, 65)),
    ((FAR, FAR, FAR), (FAR + 30, FAR + 41, FAR + 52)),
    ((0, FAR, 0), (30, FAR + 41, 52)),
    ((FAR, 0, 0), (FAR + 30, 41, 52)),
]
SHAPE = (96, 128, 128)


@pytest.mark.parametrize(("begin", "end"), BOXES)
def test_a_voxel_is_the_same_whatever_box_is_asked_for(begin, end):
    """A box within another one, one plane, and one voxel, also at the far end of the largest volume."""
    affinities, labels = made_up_affinities(7, begin, end), made_up_labels(7, begin, end)
    for first, last in (((3, 7, 1), (29, 40, 50)), ((0, 0, 0), (1, 40, 50)), ((11, 12, 13), (12, 13, 14))):
        low, high = (tuple(np.add(begin, at).tolist()) for at in (first, last))
        inside = tuple(slice(one, other) for one, other in zip(first, last, strict=True))
        assert (made_up_affinities(7, low, high) == affinities[:, *inside]).all()
        assert (made_up_labels(7, low, high) == labels[inside]).all()


def test_another_seed_makes_another_tissue():
    """And the same seed the same, on every machine and in every version until `VERSION` is raised."""
    whole = [made_up_affinities(seed, (0, 0, 0), (20, 30, 40)) for seed in (7, 7, 8)]
    assert (whole[0] == whole[1]).all()
    assert (whole[0] != whole[2]).mean() > 0.3
    assert hashlib.sha256(whole[0].tobytes()).hexdigest()[:16] == "b8c5a053ea867b5a"
    assert hashlib.sha256(made_up_labels(7, (0, 0, 0), (20, 30, 40)).tobytes()).hexdigest()[:16] == "bf0c6d0f32a95955"


def test_affinities_are_low_between_objects_and_high_within():
    """They tell objects apart on the whole, with gaps, along all axes."""
    box = (LENGTH - 48, 0, 0), (LENGTH + 48, 96, 96)
    affinities, labels = made_up_affinities(7, *box), made_up_labels(7, *box)
    for axis in range(3):
        ids = np.moveaxis(labels, axis, 0)
        values = np.moveaxis(affinities[axis], axis, 0)[1:]
        between, within = values[ids[1:] != ids[:-1]], values[ids[1:] == ids[:-1]]
        assert between.mean() < 60 < 140 < within.mean()
        assert between.max() > 150


def test_objects_cross_many_blocks_and_are_connected():
    """Along z each goes on through a volume; in a box whose ends cut some into pieces, most are in one piece."""
    begin, end = (0, 100, 100), (256, 300, 300)
    labels = made_up_labels(7, begin, end)
    assert labels.min() > 0
    numbers, voxels = np.unique(labels, return_counts=True)
    inner = np.unique(labels[:, 60:140, 60:140])
    assert len(numbers) < 500
    assert np.isin(labels[0], labels[200]).mean() > 0.2
    deep = [np.ptp(np.nonzero((labels == number).any((1, 2)))[0]) for number in inner[:20]]
    assert np.median(deep) > 64
    pieces = cc3d.connected_components(labels, connectivity=6)
    assert len(np.unique(pieces)) < 1.2 * len(numbers)
    assert voxels.max() > 64 * 20 * 20


def test_fragments_and_edges_are_as_many_as_in_tissue():
    """Some 0.0004 fragments a voxel, which are merged to objects with few mistakes."""
    truth = made_up_labels(7, (0, 0, 0), SHAPE)
    found = ours(made_up_affinities(7, (0, 0, 0), SHAPE), truth)
    assert 2e-4 < len(np.unique(found.fragments)) / truth.size < 8e-4
    assert 7e-4 < found.edges_a_voxel < 4e-3
    assert 0.1 < found.best < 0.7
    assert found.voi[found.best] < 1.5
