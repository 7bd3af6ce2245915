"""What becomes 0 and 1 in a section for rules without labels, however large the section is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contraband.quick.classical_settings import Classical
from contraband.quick.filters import blur
from contraband.quick.gaussian import gaussian
from contraband.quick.otsu import BINS, otsu_levels, parted

RowsOf = Callable[[int, int], NDArray[np.float32]]

WHOLE_VX = 1 << 24
"""A section of up to so many voxels is held as a whole."""
STRIP_VX = 1 << 22
"""Of a larger one so many are smoothed at once; strips depend on its shape alone, so blocks do not matter."""


def section_levels(rows: RowsOf, plane: tuple[int, int], rules: Classical) -> tuple[float, float]:
    """The levels of a section (y, x) of this size by Otsu's threshold; `rows` gives it between two rows, float32."""
    if plane[0] * plane[1] <= WHOLE_VX:
        return otsu_levels(next(_smooth(rows, plane, rules.smooth, plane[0])), rules.dark)
    height = max(1, STRIP_VX // plane[1])
    return _levels_of_strips(lambda: _smooth(rows, plane, rules.smooth, height), rules.dark)


def _smooth(rows: RowsOf, plane: tuple[int, int], smooth: float, height: int) -> Iterator[NDArray[np.float32]]:
    """The section smoothed, strip by strip, mirrored beyond its border: the same numbers, however high strips are."""
    kernel = gaussian(smooth)
    around = len(kernel) - 1
    mode: Literal["reflect", "edge"] = "reflect" if min(plane) > 1 else "edge"
    mirrored = np.pad(np.arange(plane[0]), around, mode=mode)
    for begin in range(0, plane[0], height):
        wanted = mirrored[begin : min(begin + height, plane[0]) + 2 * around]
        first = int(wanted.min())
        strip = rows(first, int(wanted.max()) + 1)[wanted - first]
        padded = np.pad(strip, ((0, 0), (around, around)), mode=mode)[None]
        yield blur(padded, [kernel[:1], kernel, kernel])


def _levels_of_strips(strips: Callable[[], Iterator[NDArray[np.float32]]], dark: bool) -> tuple[float, float]:
    """`otsu_levels` of all strips together, which are made three times: for the range, the threshold and the means."""
    ends = [(strip.min(), strip.max()) for strip in strips()]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if low == high:
        return otsu_levels(np.array([low]), dark)
    counts = np.zeros(BINS, np.int64)
    for strip in strips():
        # In float32 as the ends are, like those that numpy finds by itself: so edges of bins are the same numbers.
        found, edges = np.histogram(strip, BINS, range=(low, high))  # type: ignore[arg-type]
        counts += found
    threshold = parted(counts, edges)
    total, number = np.zeros(2), np.zeros(2)
    for strip in strips():
        is_bright = strip > threshold
        for side, chosen in enumerate((~is_bright, is_bright)):
            total[side] += strip[chosen].sum(dtype=np.float64)
            number[side] += np.count_nonzero(chosen)
    if not number.all():
        return (float(low) - 1, float(low)) if dark else (float(low), float(low) + 1)
    half = float(total[1] / number[1] - total[0] / number[0]) / 2
    return threshold - half, threshold + half
