"""Segments of a few fragments, against a cut through the whole dendrogram."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockwise.errors import BadInput
from blockwise.kernels.graph import climbing
from blockwise.kernels.graph.agglomeration import Dendrogram, cut
from tests.support.dendrograms import ancestry, random_dendrogram


@given(count=st.integers(1, 400), reach=st.integers(1, 400), seed=st.integers(0, 2**16), threshold=st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_what_is_climbed_is_what_is_cut(count, reach, seed, threshold):
    """Every fragment of any tree, bushy or a single long way, gets the number that `cut` gives it."""
    tree = random_dendrogram(count, seed, reach)
    chosen = np.random.default_rng(seed).permutation(tree.fragment)
    row = np.searchsorted(tree.fragment, chosen)
    assert (ancestry(tree).segments_of(chosen, threshold) == cut(tree, threshold)[row]).all()


def test_a_score_at_the_threshold_does_not_merge():
    """At a threshold that is a score of the tree itself, both say the same."""
    tree = random_dendrogram(500, 3, 20)
    for threshold in np.unique(tree.score)[::50]:
        assert (ancestry(tree).segments_of(tree.fragment, threshold) == cut(tree, threshold)).all()


def test_numbers_that_are_no_fragments_stay():
    """Background and numbers unknown to the tree are given back as they are."""
    tree = Dendrogram(np.array([3, 5, 9], np.uint64), np.array([3, 3, 5], np.uint64), np.array([0, 0.5, 0.75]))
    found = ancestry(tree).segments_of(np.array([0, 9, 4, 5, 10], np.uint64), 0.25)
    assert found.tolist() == [0, 3, 4, 3, 10]


def test_it_is_read_in_pieces(monkeypatch):
    """The pieces in which a dendrogram is read do not matter, and each is read once."""
    tree = random_dendrogram(1000, 1, 50)
    whole = ancestry(tree)
    monkeypatch.setattr(climbing, "PIECE", 7)
    assert all((getattr(whole, name) == getattr(ancestry(tree), name)).all() for name in ("parent", "jump", "score"))


def test_a_long_way_up_takes_few_steps():
    """No row of a tree that is one way of 100,000 rows is more than 60 steps from any ancestor."""
    count = 100_000
    fragment = np.arange(1, count + 1, dtype=np.uint64)
    score = np.linspace(0, 1, count)
    made = ancestry(Dendrogram(fragment, np.maximum(fragment - np.uint64(1), np.uint64(1)), score))
    for threshold in (0.0, 0.1234, 0.777):
        row, steps = count - 1, 0
        while made.score[row] > threshold:
            further = made.score[made.jump[row]] > threshold
            row, steps = int(made.jump[row] if further else made.parent[row]), steps + 1
        assert steps < 60
        assert made.segments_of(fragment[-1:], threshold)[0] == fragment[row]


def test_it_takes_24_bytes_a_fragment():
    """The memory is that of four columns."""
    made = ancestry(random_dendrogram(1000, 0, 10))
    assert sum(getattr(made, column.name).nbytes for column in fields(made)) == 24_000


def test_a_threshold_is_a_score():
    """Thresholds outside of 0 to 1 are refused."""
    with pytest.raises(BadInput, match="not a score"):
        ancestry(random_dendrogram(5, 0, 2)).segments_of(np.array([1], np.uint64), 1.5)
