"""Leaves that know each other by the numbers they share name their fragments as one look at all pairs would."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.kernels.components import PAIR, components
from blockwise.kernels.graph.leaves import elsewhere, final_names, find_roots, join_inside, shared, unite
from blockwise.kernels.tables import relabel
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import label_blocks, noise

LEAVES = 5


@pytest.fixture(scope="module")
def joined():
    """Provisional numbers of a volume in small blocks, and the pairs that are one fragment."""
    ids, pairs = label_blocks(noise((9, 10, 11), 4), WatershedRules(smooth=0, dip=0, cap=None), (2, 3, 2))
    return np.unique(ids[ids > 0]), pairs


def random_pairs(seed, count=300, most=400):
    """Numbers, and pairs of them that form fragments of all sizes."""
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.choice(np.arange(1, most, dtype=np.uint64), (count, 2)), axis=1).ravel().view(PAIR)
    return np.arange(1, most, dtype=np.uint64), np.unique(pairs[pairs["u"] != pairs["v"]])


def dealt(numbers, pairs, seed):
    """The leaf that each number is at home in, and for each leaf its pairs and all its numbers, at random."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, LEAVES, len(numbers))
    where = rng.integers(0, LEAVES, len(pairs))
    parts = [pairs[where == leaf] for leaf in range(LEAVES)]
    seen = [
        np.unique(np.concatenate([numbers[at == leaf], parts[leaf]["u"], parts[leaf]["v"], rng.choice(numbers, 9)]))
        for leaf in range(LEAVES)
    ]
    return (lambda some: at[np.searchsorted(numbers, some)]), parts, seen


def named(home, parts, seen):
    """What each leaf is told, and what it knows by itself."""
    inside = [join_inside(some) for some in parts]
    abroad = [some[home(some) != leaf] for leaf, some in enumerate(seen)]
    return inside, unite([find_roots(some, inside[leaf]) for leaf, some in enumerate(shared(abroad, home))])


def check(numbers, pairs, seed):
    """Names and places of all fragments are right, however they are dealt out."""
    home, parts, seen = dealt(numbers, pairs, seed)
    final = [relabel(some, *components(pairs)) for some in seen]
    inside, told = named(home, parts, seen)
    places = {}
    for leaf, some in enumerate(final):
        for fragment in np.unique(some).tolist():
            places.setdefault(fragment, []).append(leaf)
    for leaf, some in enumerate(seen):
        assert np.array_equal(relabel(some, *final_names(inside[leaf], told[leaf])), final[leaf])
        several = [(one, min(at), max(at)) for one, at in sorted(places.items()) if leaf in at and len(at) > 1]
        assert elsewhere(told[leaf]).tolist() == several
    return sum(len(at) > 1 for at in places.values()), len(places)


@pytest.mark.parametrize("seed", range(5))
def test_names_are_those_of_all_pairs_at_once(joined, seed):
    """Each number gets the smallest one it is joined with anywhere, and each leaf knows where else a fragment is."""
    several, whole = check(*joined, seed)
    assert 10 < several < whole
    check(*random_pairs(seed), seed)


def test_leaves_without_anything_in_common_are_told_nothing():
    """Fragments that stay in their leaf need no word from others."""
    numbers = np.arange(1, 11, dtype=np.uint64)
    pairs = np.array([(1, 2), (2, 3), (7, 9)], PAIR)
    inside, told = named(lambda some: (some > 5).astype(int), [pairs[:2], pairs[2:]], [numbers[:5], numbers[5:]])
    assert [len(some) for some in told] == [0, 0]
    assert relabel(numbers[:5], *final_names(inside[0], told[0])).tolist() == [1, 1, 1, 4, 5]


def test_a_number_that_is_kept_secret_is_noticed(joined):
    """Negative control: if leaves did not tell of the numbers that others have, names would be wrong."""
    numbers, pairs = joined
    _, parts, seen = dealt(numbers, pairs, 0)
    inside = [join_inside(some) for some in parts]
    nothing = unite([find_roots(some[:0], inside[leaf]) for leaf, some in enumerate(seen)])
    final = [relabel(some, *components(pairs)) for some in seen]
    alone = [relabel(some, *final_names(inside[leaf], nothing[leaf])) for leaf, some in enumerate(seen)]
    assert any(not np.array_equal(one, other) for one, other in zip(alone, final, strict=True))
