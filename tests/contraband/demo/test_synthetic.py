"""Made-up volumes: the same every time, true to what they say, and not too easy."""

from __future__ import annotations

from hashlib import sha256

import cc3d
import numpy as np
import pytest

from contraband.demo.noise import smooth, uniform
from contraband.demo.synthetic import depth_in_cell, em_like, whole_pieces
from contraband.experiments.baselines import baseline_otsu
from tests.support.scores import variation_of_information
from tests.support.synthetic_affinities import affinities_from_labels


@pytest.fixture(scope="module")
def volume():
    return em_like((60, 96, 110), seed=3)


def test_the_same_seed_gives_the_same_bytes(volume):
    """Image and labels depend on the arguments alone, and another seed gives others."""
    again, other = em_like((60, 96, 110), seed=3), em_like((60, 96, 110), seed=4)
    for index in range(2):
        assert sha256(again[index].tobytes()).digest() == sha256(volume[index].tobytes()).digest()
        assert (other[index] != volume[index]).any()


def test_every_label_is_one_connected_piece(volume):
    """No voxel is without a label, labels are 1 to n, and each is in one piece."""
    _, labels = volume
    pieces = cc3d.connected_components(labels, connectivity=6)
    assert labels.min() == 1
    assert len(np.unique(labels)) == labels.max() == pieces.max() > 20
    assert labels.dtype == np.uint32


def test_membranes_are_dark_and_not_the_only_dark_thing(volume):
    """Voxels between cells are darker than those within, but some within are as dark: mitochondria."""
    raw, labels = volume
    depth = depth_in_cell(labels)
    wall, inner = raw[depth < 1.5], raw[depth > 4]
    assert raw.dtype == np.uint8
    assert wall.mean() + 50 < inner.mean()
    assert (inner < wall.mean()).mean() > 0.02


@pytest.mark.parametrize("seed", [0, 1])
def test_grey_values_alone_do_not_segment_it(seed):
    """Blurring and Otsu's threshold are far from the truth: more than 1.5 bits."""
    raw, labels = em_like((80, 128, 128), seed)
    assert sum(variation_of_information(baseline_otsu(raw), labels)) > 1.5


@pytest.mark.parametrize("shape", [(1, 40, 50), (8, 8, 8), (40, 17, 33)])
def test_any_shape_can_be_made(shape):
    """Also a single section and a volume smaller than a cell."""
    raw, labels = em_like(shape, seed=0, cell_voxels=10, membrane_voxels=3)
    assert raw.shape == labels.shape == shape
    assert labels.min() == 1


def test_crumbs_go_to_their_neighbour():
    """A piece that is too small takes the label beside it; two pieces of one label become two labels."""
    labels = np.array([[[1, 1, 1, 1, 2, 1, 1, 1, 1]]])
    assert np.bincount(whole_pieces(labels, 2).ravel()).tolist() in ([0, 4, 5], [0, 5, 4])
    labels = np.array([[[1, 1, 2, 2, 2, 1, 1]]])
    assert whole_pieces(labels, 2).ravel().tolist() == [1, 1, 2, 2, 2, 3, 3]


def test_noise_belongs_to_its_place():
    """A region asked for alone equals the same region cut out of a larger one, to the last bit."""
    whole, part = smooth(7, (-5, 3, 0), (30, 31, 32), 6.3), smooth(7, (0, 10, 1), (9, 8, 7), 6.3)
    assert (whole[5:14, 7:15, 1:8] == part).all()
    whole, part = uniform(7, (-5, 3, 0), (30, 31, 32)), uniform(7, (0, 10, 1), (9, 8, 7))
    assert (whole[5:14, 7:15, 1:8] == part).all()


def test_noise_has_the_spread_it_promises():
    """Smooth noise has mean 0 and deviation 1, plain noise is even between 0 and 1."""
    field = smooth(1, (0, 0, 0), (80, 80, 80), 4.0)
    assert abs(field.mean()) < 0.05
    assert abs(field.std() - 1) < 0.05
    assert np.allclose(np.histogram(uniform(1, (0, 0, 0), (50, 50, 50)), 10, (0, 1))[0] / 12500, 1, atol=0.05)


def test_affinities_are_low_between_cells_and_high_within(volume):
    """They tell the cells apart on the whole, with gaps."""
    labels = volume[1]
    affinities = affinities_from_labels(labels, seed=0)
    assert affinities.dtype == np.uint8
    for axis in range(3):
        ids = np.moveaxis(labels, axis, 0)
        values = np.moveaxis(affinities[axis], axis, 0)[1:]
        between, within = values[ids[1:] != ids[:-1]], values[ids[1:] == ids[:-1]]
        assert between.mean() < 60 < 150 < within.mean()
        assert between.max() > 100
