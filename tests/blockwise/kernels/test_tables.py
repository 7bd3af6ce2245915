"""Overlap tables count what a loop over voxels counts, and ids are replaced voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest

from blockwise.errors import BadInput
from blockwise.kernels import tables
from blockwise.kernels.tables import added_up, count_overlap, distinct, merge_overlaps, relabel
from tests.support.affinities import blocks, box


def volumes(seed=0, shape=(9, 10, 11)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 6, shape).astype(np.uint64) * np.uint64(2**40), rng.integers(0, 4, shape)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_overlaps_are_counted_voxel_by_voxel(dtype):
    """Every pair that occurs is there once, zeros included, sorted."""
    ids, truth = volumes()
    pairs = {}
    for pair in zip(ids.ravel().tolist(), truth.ravel().tolist(), strict=True):
        pairs[pair] = pairs.get(pair, 0) + 1
    table = count_overlap(ids, truth.astype(dtype))
    assert table.tolist() == [(*pair, pairs[pair]) for pair in sorted(pairs)]


def test_overlaps_do_not_depend_on_the_blocks(monkeypatch):
    """The tables of blocks add up to that of the volume, in any order of blocks and rows."""
    ids, truth = volumes()
    truth = truth.astype(np.uint32)
    parts = [count_overlap(ids[box(*at)], truth[box(*at)]) for at in blocks(ids.shape, (5, 2, 7))]
    whole = count_overlap(ids, truth)
    assert np.array_equal(merge_overlaps(parts), whole)
    shuffled = np.random.default_rng(0).permutation(np.concatenate(parts))
    assert np.array_equal(merge_overlaps([shuffled]), whole)
    assert len(merge_overlaps([])) == 0
    for at_once in (1, 50, 10**6):
        monkeypatch.setattr(tables, "AT_ONCE", at_once)
        assert np.array_equal(added_up(iter(parts)), whole)


def test_many_overlaps_fill_a_growing_table():
    """A table of tens of thousands of pairs keeps every one."""
    ids = np.arange(30_000, dtype=np.uint64)
    table = count_overlap(ids, ids + np.uint64(7))
    assert np.array_equal(table["fragment"], ids)
    assert (table["voxels"] == 1).all()


def test_a_truth_that_does_not_fit_is_refused():
    """Other shapes and signed truths are refused."""
    ids, truth = volumes()
    with pytest.raises(BadInput, match="truth"):
        count_overlap(ids, truth)
    with pytest.raises(BadInput, match="truth"):
        count_overlap(ids, truth[1:].astype(np.uint8))


@pytest.mark.parametrize("shape", [(0,), (1,), (1000,), (20, 30), (7, 8, 9), (3, 1, 1)])
def test_ids_are_replaced_voxel_by_voxel(shape):
    """Old ids become new ones, 0 included if it is an old one; others stay."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.integers(0, 9, shape).astype(np.uint64), axis=-1)
    for old in ([], [0], [3], [0, 2, 5, 8], [1, 4, 100]):
        new = rng.integers(0, 2**60, len(old)).astype(np.uint64)
        names = dict(zip(old, new.tolist(), strict=True))
        wanted = np.array([names.get(i, i) for i in ids.ravel().tolist()], np.uint64).reshape(shape)
        assert np.array_equal(relabel(ids, np.array(old, np.uint64), new), wanted)
        assert np.array_equal(relabel(ids.T, np.array(old, np.uint64), new), wanted.T)


@pytest.mark.parametrize("begin", [(0, 0, 0), (1, 0, 1), (0, 1, 1)])
def test_distinct_numbers_are_those_of_a_set(begin: tuple[int, int, int]) -> None:
    """Runs, columns of equal voxels, single voxels and background, with and without a margin."""
    rng = np.random.default_rng(1)
    for high in (2, 30, 10_000):
        ids = np.repeat(rng.integers(0, high, (3, 5, 40), np.uint64), 2, axis=2)
        ids[:, 1] = ids[:, 0]
        inner = ids[tuple(slice(start, None) for start in begin)]
        assert distinct(ids, begin).tolist() == sorted(set(inner.ravel().tolist()) - {0})
