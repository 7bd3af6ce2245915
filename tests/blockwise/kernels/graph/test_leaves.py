"""Leaves that know each other by the numbers they share name their fragments as one look at all pairs would."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.kernels.components import PAIR, components
from blockwise.kernels.graph.leaves import NAMED, elsewhere, final_names, find_shared, join_inside, tell, unite
from blockwise.kernels.tables import relabel
from blockwise.kernels.watershed.rules import WatershedRules
from tests.support.affinities import label_blocks, noise

LEAVES = 5
TREES = [(0, 1, 2, 3, 4), (((0, 1), (2, 3)), 4), ((0, 1, 2), (3, 4)), (0, (1, (2, (3, 4))))]
"""Boxes, down to leaves by their numbers."""


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


def named(home, parts, seen, tree=TREES[0]):
    """What each leaf knows by itself, and what it is told by a tree of boxes."""
    inside = [join_inside(some) for some in parts]
    rows = []
    for here, some in enumerate(seen):
        away = some[home(some) != here]
        pairs = [(away, home(away))]
        pairs += [(other[home(other) == here], at) for at, other in enumerate(seen) if at != here]
        number, leaf = (
            np.concatenate(one) for one in zip(*[np.broadcast_arrays(*pair) for pair in pairs], strict=True)
        )
        rows.append(find_shared(here, number, leaf, inside[here]))
    told = {}
    _, shared, down = upwards(tree, rows, told)
    assert not len(shared)
    down(np.empty(0, NAMED))
    return inside, [told[leaf] for leaf in range(len(seen))]


def upwards(box, rows, told):
    """The span of a box, its SHARED, and what hands names down into `told`."""
    if isinstance(box, int):
        return (box, box + 1), rows[box], lambda names: told.update({box: names})
    spans, shared, down = zip(*[upwards(one, rows, told) for one in box], strict=True)
    span = (spans[0][0], spans[-1][1])
    united, rest = unite(shared, span)

    def hand_down(names):
        for one, some in zip(down, united, strict=True):
            one(tell(some, names))

    return span, rest, hand_down


def check(numbers, pairs, seed, tree):
    """Names and places of all fragments are right, however they are dealt out."""
    home, parts, seen = dealt(numbers, pairs, seed)
    final = [relabel(some, *components(pairs)) for some in seen]
    inside, told = named(home, parts, seen, tree)
    places = {}
    for leaf, some in enumerate(final):
        for fragment in np.unique(some).tolist():
            places.setdefault(fragment, []).append(leaf)
    for leaf, some in enumerate(seen):
        assert np.array_equal(relabel(some, *final_names(inside[leaf], told[leaf])), final[leaf])
        several = [(one, min(at), max(at)) for one, at in sorted(places.items()) if leaf in at and len(at) > 1]
        assert elsewhere(told[leaf]).tolist() == several
    return sum(len(at) > 1 for at in places.values()), len(places)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("seed", range(5))
def test_names_are_those_of_all_pairs_at_once(joined, seed, tree):
    """Each number gets the smallest one it is joined with anywhere, and each leaf knows where else a fragment is."""
    several, whole = check(*joined, seed, tree)
    assert 10 < several < whole
    check(*random_pairs(seed), seed, tree)
    check(*random_pairs(seed, 100), seed, tree)


def test_a_box_hands_on_only_what_is_known_outside():
    """A number whose leaves all lie in the box stays there, but for the smallest of a fragment that goes on."""
    nothing = join_inside(np.empty(0, PAIR))
    numbers = np.array([1, 2, 3], np.uint64)
    inside = join_inside(np.array([(2, 3)], PAIR))
    zero = find_shared(0, numbers, np.array([1, 1, 2]), inside)
    one = find_shared(1, numbers[:2], np.array([0, 0]), nothing)
    named, rest = unite([zero, one], (0, 2))
    assert [some.tolist() for some in named] == [[(1, 1, 0, 1), (2, 2, 0, 2)], [(1, 1, 0, 1), (2, 2, 0, 2)]]
    assert rest.tolist() == [(2, 2, 0, 2), (3, 2, 0, 2)]


def test_leaves_without_anything_in_common_are_told_nothing():
    """Fragments that stay in their leaf need no word from others."""
    numbers = np.arange(1, 11, dtype=np.uint64)
    pairs = np.array([(1, 2), (2, 3), (7, 9)], PAIR)
    parts, seen = [pairs[:2], pairs[2:]], [numbers[:5], numbers[5:]]
    inside, told = named(lambda some: (some > 5).astype(int), parts, seen, (0, 1))
    assert [len(some) for some in told] == [0, 0]
    assert relabel(numbers[:5], *final_names(inside[0], told[0])).tolist() == [1, 1, 1, 4, 5]


def test_a_number_that_is_kept_secret_is_noticed(joined):
    """Negative control: if leaves did not tell of the numbers that others have, names would be wrong."""
    numbers, pairs = joined
    _, parts, seen = dealt(numbers, pairs, 0)
    inside = [join_inside(some) for some in parts]
    nothing = [np.empty(0, NAMED)] * LEAVES
    final = [relabel(some, *components(pairs)) for some in seen]
    alone = [relabel(some, *final_names(inside[leaf], nothing[leaf])) for leaf, some in enumerate(seen)]
    assert any(not np.array_equal(one, other) for one, other in zip(alone, final, strict=True))
