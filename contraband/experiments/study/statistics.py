"""Means with intervals, paired differences, and correction for how many are looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
RESAMPLES = 10_000
FEWEST = 2
"""Of one draw nothing is known of the spread."""


@dataclass(frozen=True)
class Estimate:
    """A mean over draws, or of differences over draws, and how sure it is."""

    count: int
    """Draws."""
    mean: float
    low: float
    """Lower end of the 95 % interval of the mean by Student's t; nan for a single draw."""
    high: float
    low_bootstrap: float
    """The same by drawing the draws again (percentiles of 10,000 means)."""
    high_bootstrap: float
    median: float
    above: int
    """How many of the draws are above zero."""
    p: float
    """Two-sided p of the mean being zero, by Student's t; nan for a single draw."""


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value a draw, with intervals; all nan if there is none."""
    array = np.asarray(values, np.float64)
    count = len(array)
    if not count:
        return Estimate(0, *(math.nan,) * 6, 0, math.nan)
    mean = float(array.mean())
    low, high = _t_interval(array)
    low_again, high_again = _bootstrap(array)
    above = int((array > 0).sum())
    return Estimate(count, mean, low, high, low_again, high_again, float(np.median(array)), above, p_value(array))


def p_value(values: NDArray[np.float64]) -> float:
    """Two-sided p of the mean being zero; 1 or 0 where all values are the same, nan for fewer than two."""
    if len(values) < FEWEST:
        return math.nan
    error = _standard_error(values)
    if error == 0:
        return 1.0 if values[0] == 0 else 0.0
    return float(2 * stats.t.sf(abs(values.mean()) / error, len(values) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values that allow for how many there are (Holm 1979), in the same order; nan stays and is not counted.

    Each is compared with the level as if it were alone: the chance of one false finding among all is below the level.
    """
    known = [place for place, p in enumerate(p_values) if not math.isnan(p)]
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(known, key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(known) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _t_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    if len(values) < FEWEST:
        return math.nan, math.nan
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * _standard_error(values)
    return float(values.mean()) - reach, float(values.mean()) + reach


def _bootstrap(values: NDArray[np.float64]) -> tuple[float, float]:
    if len(values) < FEWEST:
        return math.nan, math.nan
    # A fixed seed: the same rows give the same report.
    picked = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[picked].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _standard_error(values: NDArray[np.float64]) -> float:
    if (values == values[0]).all():  # else rounding of the mean makes a spread where there is none
        return 0.0
    return float(values.std(ddof=1) / math.sqrt(len(values)))
