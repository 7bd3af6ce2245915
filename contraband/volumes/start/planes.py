"""Some sections of an image, read to find out what is in it. The same image gives the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from blockwise.arrays.values import check_finite
from blockwise.grid import Voxels, as_voxels
from contraband.volumes.channels import shown

Section2D = NDArray[np.float32]
Reader = Callable[[Voxels, Voxels], np.ndarray]

MOST_PLANES = 24
LARGEST_VX = 768
"""Voxels along y and x that are read of a section, in its middle or near a corner by turns."""
ALIKE = 0.5
"""Correlation of one section with the next from which on they show the same objects."""
BLUR = 1.5
"""Voxels by which sections are blurred before they are compared, so that noise does not count."""
FARTHEST = 32
"""Voxels that a section is shifted at most to learn how thick it is."""


@dataclass(frozen=True)
class SampledSection:
    """A piece of a section, and the same piece of the next one; None in the last."""

    here: Section2D
    after: Section2D | None


def planes(
    read: Reader, shape: Voxels, channels: Sequence[int] | None = None, sizes: Sequence[tuple[int, int]] = ()
) -> Iterator[SampledSection]:
    """Pieces (y, x) of up to 24 sections spread over the volume; the mean of these channels where there are several.

    read: gives ([C,] z, y, x) between two corners. sizes: of each section along y and x where the rest is padding; none
    is then a section next to another.
    """
    depth = shape[0]
    count = min(depth, MOST_PLANES)
    for number in range(count):
        z = (2 * number + 1) * depth // (2 * count)
        plane = sizes[z] if sizes else shape[1:]
        after = z + (1 if sizes else 2)
        begin = as_voxels((z, *(_begin(size, number) for size in plane)))
        end = as_voxels((min(after, depth), *(min(at + LARGEST_VX, n) for at, n in zip(begin[1:], plane, strict=True))))
        values = shown(read(begin, end), channels or (), is_mean=True).astype(np.float32)
        check_finite(values, "the image", begin)
        yield SampledSection(values[0], values[1] if len(values) > 1 else None)


def _begin(size: int, number: int) -> int:
    """Where a piece begins: in the middle, at the beginning, at the end by turns."""
    left = max(0, size - LARGEST_VX)
    return (left // 2, 0, left)[number % 3]


def thickness(pairs: list[SampledSection]) -> float | None:
    """How many voxels along x a section is thick, by how fast the image changes; None if sections are unrelated.

    The shift in the plane that changes a section as much as the next section differs from it.
    """
    both = [(_smooth(pair.here), _smooth(pair.after)) for pair in pairs if pair.after is not None]
    ahead = [found for here, after in both if (found := _correlation(here, after)) is not None]
    if not ahead or float(np.median(ahead)) < ALIKE:
        return None
    wanted = float(np.median(ahead))
    before = 1.0
    for shift in range(1, FARTHEST):
        moved = [_correlation(one[:, shift:], one[:, :-shift]) for one, _ in both if one.shape[1] > 2 * shift]
        known = [one for one in moved if one is not None]
        if not known:
            break
        here = float(np.median(known))
        if here <= wanted:
            return shift - 1 + (before - wanted) / max(before - here, 1e-6)
        before = here
    return float(FARTHEST)


def _smooth(plane: Section2D) -> Section2D:
    found: Section2D = ndimage.gaussian_filter(plane, BLUR)
    return found


def _correlation(one: Section2D, other: Section2D) -> float | None:
    """Of two planes of the same shape; None if one has no contrast."""
    here, there = one - one.mean(), other - other.mean()
    size = float(np.sqrt((here * here).mean() * (there * there).mean()))
    return float((here * there).mean()) / size if size > 0 else None
