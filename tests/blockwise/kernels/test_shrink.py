"""Smaller images and labels against the slowest obvious way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from blockwise.kernels.shrink import shrink_majority, shrink_mean

STEPS = [(2, 2, 2), (1, 2, 2), (2, 1, 3)]


def windows(data, step):
    """Every window of an array, by its place in the smaller one."""
    shape = [-(-size // by) for size, by in zip(data.shape, step, strict=True)]
    for place in itertools.product(*map(range, shape)):
        yield place, data[tuple(slice(at * by, (at + 1) * by) for at, by in zip(place, step, strict=True))].ravel()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
def test_a_smaller_image_is_the_mean_rounded_half_up(step, dtype):
    """Each voxel is the mean of its window, also at the end where the window is cut off, exact for integers."""
    rng = np.random.default_rng(0)
    low, high = (0, 1) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    data = rng.uniform(low, high, (5, 4, 7)).astype(dtype)
    found = shrink_mean(data, step)
    assert found.dtype == dtype
    for place, window in windows(data, step):
        if dtype == "float32":
            assert found[place] == pytest.approx(window.astype(np.float64).mean())
        else:
            total, count = sum(map(int, window)), len(window)
            assert found[place] == (2 * total + count) // (2 * count)


def test_channels_stay_apart():
    """Each channel is made smaller on its own."""
    data = np.random.default_rng(1).integers(0, 255, (2, 4, 6, 5)).astype(np.uint8)
    found = shrink_mean(data, (2, 2, 2))
    np.testing.assert_array_equal(found, np.stack([shrink_mean(channel, (2, 2, 2)) for channel in data]))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("dtype", ["uint8", "uint64"])
def test_smaller_labels_are_the_majority_with_ties_by_smallest_number(step, dtype):
    """Each voxel is the most frequent number of its window, the smallest of several such."""
    labels = np.random.default_rng(2).integers(0, 4, (5, 6, 7)).astype(dtype)
    found = shrink_majority(labels, step)
    assert found.dtype == dtype
    for place, window in windows(labels, step):
        numbers, counts = np.unique(window, return_counts=True)
        assert found[place] == numbers[np.argmax(counts)]
