"""Sorted runs of pairs become one run."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.kernels.pairs import merge_runs


@pytest.mark.parametrize("sizes", [(), (0,), (5,), (0, 7, 0), (40, 3, 0, 25), (9, 9, 9, 9, 9, 9, 9, 9, 9)], ids=str)
def test_runs_are_merged_in_order_and_equal_pairs_share_a_place(sizes: tuple[int, ...]) -> None:
    """Few numbers, so that many pairs are equal, also in their first number alone; large ones, as ids are."""
    rng = np.random.default_rng(3)
    numbers = np.array([1, 2, 2**40, 2**63], np.uint64)
    runs = []
    for size in sizes:
        pairs = rng.choice(numbers, (size, 2))
        runs.append(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])
    pairs = np.concatenate([np.empty((0, 2), np.uint64), *runs])
    places = merge_runs(pairs, sizes)
    assert places.dtype == np.uint32
    wanted = np.unique(pairs, axis=0, return_inverse=True)[1] if len(pairs) else []
    assert np.array_equal(places, np.ravel(wanted))
