"""Otsu's threshold: the value that parts the numbers of an image into dark and bright ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 256


def otsu_threshold(values: NDArray[Any]) -> float:
    """The value that splits the numbers into two groups with means furthest apart, weighted by their sizes."""
    return parted(*np.histogram(values, BINS))


def parted(counts: NDArray[np.integer], edges: NDArray[np.floating]) -> float:
    """The same of numbers that are counted already; edges: of the bins, one more than there are counts."""
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    total = np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = total / below - (total[-1] - total) / above
        spread = np.nan_to_num(below * above * gap**2)
    return float(edges[int(np.argmax(spread)) + 1])


def otsu_levels(values: NDArray[Any], dark: bool) -> tuple[float, float]:
    """What becomes 0 and 1 so that the threshold is halfway; they are as far apart as the means on its two sides.

    dark: objects are darker than what is around them. Where all values are the same, none is an object.
    """
    threshold = otsu_threshold(values)
    is_bright = values > threshold
    if not is_bright.any() or is_bright.all():
        one = float(values.flat[0])
        return (one - 1, one) if dark else (one, one + 1)
    half = (float(values[is_bright].mean(dtype=np.float64)) - float(values[~is_bright].mean(dtype=np.float64))) / 2
    return threshold - half, threshold + half
