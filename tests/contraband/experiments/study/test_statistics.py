"""Intervals, p values and their correction, against scipy and worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from contraband.experiments.study.statistics import estimate, holm


def test_intervals_and_p_are_those_of_scipy():
    """Of random differences the t interval, p, median and count of signs are what scipy and numpy say."""
    values = np.random.default_rng(1).normal(0.1, 0.2, 9)
    found = estimate(values)
    test = stats.ttest_1samp(values, 0)
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(test.pvalue)
    assert (found.mean, found.median) == pytest.approx((values.mean(), np.median(values)))
    assert (found.count, found.above) == (9, int((values > 0).sum()))


def test_the_bootstrap_is_that_of_scipy():
    """The percentile interval over draws agrees with scipy's, as far as both are random, and stays the same."""
    values = np.random.default_rng(2).normal(0.1, 0.2, 12)
    found = estimate(values)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert found.low_bootstrap == pytest.approx(theirs.low, abs=0.01)
    assert found.high_bootstrap == pytest.approx(theirs.high, abs=0.01)
    assert estimate(values) == found


def test_one_draw_tells_no_interval():
    """With one draw interval and p are not numbers, with none the mean is not one either."""
    found = estimate([0.5])
    assert (found.mean, found.median, found.above) == (0.5, 0.5, 1)
    assert all(map(math.isnan, (found.low, found.high, found.low_bootstrap, found.p)))
    assert math.isnan(estimate([]).mean)


def test_equal_differences_have_no_spread():
    """Where all draws differ by the same, p is 0, or 1 if they do not differ at all."""
    assert estimate([0.1] * 3).p == 0
    assert estimate([0.0] * 3).p == 1


def test_holm_gives_the_worked_example():
    """0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02, worked by hand; what is no number is not counted."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    first, second, third = holm([0.01, math.nan, 0.8])
    assert (first, third) == pytest.approx((0.02, 0.8))
    assert math.isnan(second)
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
