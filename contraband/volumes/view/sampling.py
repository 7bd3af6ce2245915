"""What is in a volume, from some of its blocks: the range of an image, and the largest objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blockwise.arrays.volume import Volume, info, open_array

SAMPLE_VX = (16, 64, 64)
"""Voxels of a sampled block of an image."""
PERCENT = (1.0, 99.0)
LOOKED_AT_VX = 64
"""Voxels along each axis of a block in which objects are counted."""
MOST_LOOKS = 64


def contrast(volume: Volume) -> tuple[float, float]:
    """Between which numbers an image is stretched: percentiles of up to 27 blocks, spread over the volume."""
    found = info(volume)
    array = open_array(volume)
    samples = []
    for corner in spread(found.spatial, SAMPLE_VX, 3):
        region = tuple(slice(at, at + size) for at, size in zip(corner, SAMPLE_VX, strict=True))
        samples.append(np.asarray(array[(..., *region)]).ravel())
    low, high = np.percentile(np.concatenate(samples).astype(np.float64), PERCENT)
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1)


def spread(shape: Sequence[int], block: Sequence[int], each: int) -> list[tuple[int, ...]]:
    """The corners of up to `each` blocks along every axis, none twice, the first and the last at the ends."""
    axes = []
    for size, step in zip(shape, block, strict=True):
        last = max(0, size - step)
        axes.append(sorted({last * place // max(1, each - 1) for place in range(each)}))
    return list(itertools.product(*axes))


@dataclass(frozen=True)
class Sampled:
    """The fragments that were seen in sampled blocks."""

    fragment: np.ndarray
    """(n,) uint64, each once, no background."""
    voxels: np.ndarray
    """(n,) int64, how many of its voxels were seen."""
    place: np.ndarray
    """(n, 3) int64, one of them."""
    share: float
    """How much of the volume was looked at."""


def look(load: Callable[[tuple[slice, ...]], np.ndarray], shape: Sequence[int]) -> Sampled:
    """Count fragments in up to 64 blocks; the whole volume if it has no more."""
    size = (LOOKED_AT_VX,) * 3
    is_small = np.prod([-(-along // LOOKED_AT_VX) for along in shape]) <= MOST_LOOKS
    every = [range(0, along, LOOKED_AT_VX) for along in shape]
    corners = list(itertools.product(*every)) if is_small else spread(shape, size, 4)
    tables = [_count(load, corner, shape) for corner in corners]
    ids, first, row = np.unique(np.concatenate([one[0] for one in tables]), return_index=True, return_inverse=True)
    voxels = np.bincount(row, np.concatenate([one[1] for one in tables]), len(ids)).astype(np.int64)
    places = np.concatenate([one[2] for one in tables])
    looked_at = sum(
        np.prod([min(LOOKED_AT_VX, along - at) for at, along in zip(one, shape, strict=True)]) for one in corners
    )
    return Sampled(ids, voxels, places[first], float(looked_at / np.prod(shape)))


def largest(seen: Sampled, numbers: np.ndarray, chosen: Collection[int]) -> list[dict[str, Any]]:
    """A row for each object that was seen, those that are chosen first, then the largest.

    numbers: (n,) which object each fragment belongs to. A row has `number` as text, since programs of browsers round
    large ones, `voxels` that were seen, a `place` (z, y, x) in its largest fragment, and whether it is `chosen`.
    """
    order = np.argsort(-seen.voxels, kind="stable")
    objects, first, row = np.unique(numbers[order], return_index=True, return_inverse=True)
    voxels = np.bincount(row, seen.voxels[order], len(objects)).astype(np.int64)
    rows = [
        {"number": str(number), "voxels": size, "place": place, "chosen": number in chosen}
        for number, size, place in zip(
            objects.tolist(), voxels.tolist(), seen.place[order][first].tolist(), strict=True
        )
    ]
    return sorted(rows, key=lambda one: (not one["chosen"], -one["voxels"]))


def _count(
    load: Callable[[tuple[slice, ...]], np.ndarray], corner: Sequence[int], shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fragments in one block, how many voxels each has there, and one of these."""
    region = tuple(slice(at, min(at + LOOKED_AT_VX, size)) for at, size in zip(corner, shape, strict=True))
    block = load(region)
    flat = block.ravel()
    order = np.argsort(flat, kind="stable")
    ids, first, voxels = np.unique(flat[order], return_index=True, return_counts=True)
    # The voxel in the middle of the list is nearer to the middle of the object than its first one.
    places = np.stack(np.unravel_index(order[first + voxels // 2], block.shape), 1) + np.asarray(corner)
    kept = ids > 0
    return ids[kept], voxels[kept], places[kept]
