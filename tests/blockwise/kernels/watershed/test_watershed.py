"""Fragments do not depend on how a volume is cut up."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.errors import BadInput
from blockwise.kernels.components import PAIR, components, joins
from blockwise.kernels.watershed.heights import UNITS, kernel_weights
from blockwise.kernels.watershed.label import halo, label_block, window
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import BLOCKS, cells, fragments, label_blocks, noise, slow_fragments

SHAPE = (9, 10, 11)
SETTINGS = {
    "default": WatershedRules(),
    "plain": WatershedRules(smooth=0.0, affinity_weight=0.0, dip=0.0, cap=None),
    "low": WatershedRules(low=0.4, cap=0.6, dip=0.5),
    "dips": WatershedRules(smooth=0.0, affinity_weight=1.0, dip=1.0, cap=None),
    "background": WatershedRules(smooth=1.0, background=0.34),
    "sections": WatershedRules(per_section=True, cap=0.8),
}


def full_of(value, shape=SHAPE, channels=3):
    return np.full((channels, *shape), value, np.uint8)


@pytest.mark.parametrize("levels", [2, 4, 256])
@pytest.mark.parametrize("name", SETTINGS)
def test_fragments_are_what_the_rules_say(name, levels):
    """The compiled kernels agree with the rules applied voxel by voxel."""
    for shape in ((5, 6, 7), (1, 9, 8), (2, 2, 11)):
        affinities = noise(shape, levels, seed=levels)
        assert np.array_equal(fragments(affinities, SETTINGS[name]), slow_fragments(affinities, SETTINGS[name]))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", SETTINGS)
def test_fragments_do_not_depend_on_the_blocks(name, block):
    """Any blocks in any order, thinner than the halo or not dividing the volume, give the one-block fragments."""
    rules = SETTINGS[name]
    for affinities in (noise(SHAPE, 4), cells((12, 13, 14)), noise(SHAPE, 256, dtype=np.uint16)):
        whole = fragments(affinities, rules)
        assert np.array_equal(fragments(affinities, rules, block, seed=3), whole)
        assert len(np.unique(whole)) > 5


@pytest.mark.parametrize("block", [(1, 1, 1), (3, 3, 3), (5, 2, 7)])
def test_uniform_volumes_do_not_depend_on_the_blocks(block):
    """Constant volumes are cut up as a whole would be; at full affinity, they are one fragment."""
    for value in (0, 100, 255):
        affinities = full_of(value, (6, 5, 7))
        assert np.array_equal(fragments(affinities, WatershedRules(), block), fragments(affinities, WatershedRules()))
    assert (fragments(full_of(255), WatershedRules(), (5, 2, 7)) == 1).all()


def test_masks_are_background_and_do_not_depend_on_the_blocks():
    """Masked voxels get 0 and join nothing, also where a whole block is masked."""
    rng = np.random.default_rng(1)
    affinities, rules = noise((8, 8, 9), 4), WatershedRules(cap=0.7)
    mask = (rng.random((8, 8, 9)) < 0.8).astype(np.uint8)
    mask[:4, :4, :4] = 0
    whole = slow_fragments(affinities, rules, mask)
    assert np.array_equal(whole == 0, mask == 0)
    for block in ((4, 4, 4), (3, 2, 5), (8, 8, 9)):
        assert np.array_equal(fragments(affinities, rules, block, mask), whole)
        assert np.array_equal(fragments(affinities, rules, block, mask != 0), whole)


def test_a_volume_of_background_has_no_fragments():
    """Without foreground there are no ids and no links."""
    ids, pairs = label_blocks(full_of(0), WatershedRules(background=0.0), (3, 3, 3))
    assert not ids.any()
    assert not len(pairs)


def test_background_is_where_no_neighbour_is_near():
    """A voxel is background if its largest affinity with a neighbour, before or after it, is at most the limit."""
    affinities = full_of(10, (1, 3, 4))
    affinities[2, 0, 1, 2] = 11
    ids = fragments(affinities, WatershedRules(per_section=True, background=10 / 255))
    assert ids[0].tolist() == [[0, 0, 0, 0], [0, 6, 6, 0], [0, 0, 0, 0]]


def test_an_id_is_the_smallest_voxel_of_its_fragment():
    """`id - 1` is the smallest index among the voxels of a fragment."""
    ids = fragments(cells((12, 13, 14)), WatershedRules(), (5, 2, 7))
    found, first = np.unique(ids, return_index=True)
    assert np.array_equal(found, first + 1)


def test_ids_of_a_large_volume_are_global_indices():
    """A block far from the origin of a huge volume counts voxels of the volume."""
    shape, begin, end = (10**4, 10**5, 10**6), (5000, 60000, 700000), (5004, 60005, 700006)
    at = window(WatershedRules(), shape, begin, end)
    size = tuple(e - b for b, e in zip(at.read_begin, at.read_end, strict=True))
    ids, _ = label_block(noise(size, 4), at, WatershedRules())
    assert ids[0, 0, 0] == 1 + (5000 * 10**5 + 60000) * 10**6 + 700000
    index = np.ravel_multi_index(np.indices(ids.shape).reshape(3, -1) + np.array(begin)[:, None], shape)
    assert (ids.ravel() <= index + 1).all()
    assert np.isin(ids.ravel() - 1, index).all()


def test_sections_are_on_their_own():
    """Per section, every section is segmented as if it were the only one, with or without a channel for z."""
    rules, affinities = WatershedRules(per_section=True, cap=0.8), noise((4, 12, 9))  # no ties: those know the section
    whole = fragments(affinities, rules)
    for z in range(4):
        alone = fragments(affinities[:, z : z + 1], rules)
        assert np.array_equal(whole[z], alone[0] + np.uint64(z * 12 * 9))
    without_z, faces = label_block(affinities[1:], window(rules, (4, 12, 9), (0, 0, 0), (4, 12, 9)), rules)
    assert np.array_equal(without_z, whole)
    assert not faces[0].any()
    assert halo(rules)[0] == 0


def test_low_affinities_do_not_link():
    """Two voxels with an affinity below `low` are never linked directly, however high they are."""
    affinities = full_of(255, (1, 2, 6))
    affinities[2, :, :, 3] = 100
    assert len(np.unique(fragments(affinities, WatershedRules(smooth=0, cap=0.5)))) == 1
    ids = fragments(affinities, WatershedRules(smooth=0, cap=0.5, low=0.5))
    assert ids[0].tolist() == [[1, 1, 1, 4, 4, 4], [1, 1, 1, 4, 4, 4]]


def test_a_cap_keeps_plateaus_whole():
    """Noise near the full affinity makes many fragments without a cap, and one with it."""
    affinities = 250 + noise((8, 8, 8), 6) // 51
    assert len(np.unique(fragments(affinities, WatershedRules(cap=None)))) > 5
    assert len(np.unique(fragments(affinities, WatershedRules(cap=0.95)))) == 1


def test_kernel_weights_are_integers_of_one_sum():
    """Weights fall with distance and sum to the same for every sigma."""
    for sigma in (0.0, 0.3, 0.5, 0.7, 1.0, 2.0, 3.0):
        weights = kernel_weights(sigma)
        assert weights[0] + 2 * weights[1:].sum() == UNITS
        assert (np.diff(weights) <= 0).all()
        assert (weights > 0).all()


def test_joins_are_unique_and_sorted():
    """A face gives every pair of different ids once, and nothing where a voxel is background or not linked."""
    face = np.array([[9, 9, 3, 0, 5]], np.uint64)
    below = np.array([[4, 4, 3, 2, 1]], np.uint64)
    linked = np.array([[1, 1, 1, 1, 0]], np.uint8)
    assert joins(face, below, linked).tolist() == [(4, 9)]
    assert joins(face, below, np.ones((1, 5), bool)).tolist() == [(1, 5), (4, 9)]


def test_components_agree_with_a_slow_union():
    """Every id goes to the smallest id it is connected with, whatever the order of the pairs."""
    rng = np.random.default_rng(0)
    pairs = np.zeros(300, PAIR)
    pairs["u"], pairs["v"] = rng.integers(1, 400, (2, 300))
    slow = {int(i): int(i) for i in np.unique(np.r_[pairs["u"], pairs["v"]])}
    for _ in range(300):
        for u, v in pairs.tolist():
            slow[u] = slow[v] = min(slow[u], slow[v])
    for _ in range(3):
        ids, roots = components(rng.permutation(pairs))
        assert dict(zip(ids.tolist(), roots.tolist(), strict=True)) == slow
    assert [len(column) for column in components(pairs[:0])] == [0, 0]


@pytest.mark.parametrize("bad", [{"smooth": -1.0}, {"smooth": 4.5}, {"low": 2.0}, {"cap": -0.1}, {"background": 1.5}])
def test_impossible_rules_are_refused(bad):
    """Rules outside their range say which one it is."""
    with pytest.raises(BadInput, match=f"test: {next(iter(bad))}: "):
        WatershedRules.parse(bad, "test")


def test_arrays_that_do_not_fit_are_refused():
    """Wrong types and shapes are refused before any voxel is looked at."""
    at, rules = window(WatershedRules(), SHAPE, (0, 0, 0), SHAPE), WatershedRules()
    for affinities, mask in (
        (full_of(1).astype(np.float32), None),
        (full_of(1, channels=2), None),
        (full_of(1, (3, 3, 3)), None),
        (full_of(1)[0], None),
        (full_of(1), np.ones((2, 2, 2), bool)),
    ):
        with pytest.raises(BadInput):
            label_block(affinities, at, rules, mask)
