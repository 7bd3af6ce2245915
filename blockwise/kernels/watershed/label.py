"""Fragments: every voxel is linked with its best higher neighbour; components of the links are called by a voxel.

A pointer watershed whose links depend on a bounded neighbourhood only, so that blocks agree on every link,
and whose ids are voxel indices, so that blocks agree on every id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from blockwise.errors import BadInput
from blockwise.kernels.watershed.heights import heights, highest, kernel_weights, largest_affinity
from blockwise.kernels.watershed.links import TO_X, TO_Y, TO_Z, label_links, link_voxels
from blockwise.kernels.watershed.rules import WatershedRules
from blockwise.kernels.watershed.steps import Bars

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Window:
    """A block in its volume, in voxels (z, y, x) from the volume's first.

    The read box is the write box grown by `halo` on every side and clipped at the volume.
    """

    volume_shape: Triple
    read_begin: Triple
    read_end: Triple
    write_begin: Triple
    write_end: Triple


def halo(rules: WatershedRules) -> Triple:
    """Voxels to read around a block on each side: the smoothing, one for the affinity, and the steps of a peak."""
    reach = len(kernel_weights(rules.smooth)) + (2 if rules.dip else 1)
    return (0 if rules.per_section else reach, reach, reach)


def window(rules: WatershedRules, volume_shape: Triple, begin: Triple, end: Triple) -> Window:
    """The window of the block from `begin` to `end`."""
    reach = halo(rules)
    low = tuple(max(0, edge - grow) for edge, grow in zip(begin, reach, strict=True))
    high = tuple(min(size, edge + grow) for size, edge, grow in zip(volume_shape, end, reach, strict=True))
    return Window(volume_shape, (low[0], low[1], low[2]), (high[0], high[1], high[2]), begin, end)


def label_block(
    affinities: np.ndarray, window: Window, rules: WatershedRules, mask: np.ndarray | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Provisional fragment ids of a block, and its links with the voxels just before it.

    affinities: (3, z, y, x) uint8 or uint16 over the read box; channel d joins a voxel and the one before it
                along d. (2, z, y, x) without z if `per_section`.
    mask:       (z, y, x) bool or uint8 over the read box; 0 is background.
    Returns the ids, uint64 over the write box (1 + the smallest index in the volume of what is connected
    within the block; 0 is background), and three bool arrays, shaped as the block's low faces in z, y and x:
    whether the voxel there and the one before it, outside the block, are one fragment.
    Raises BadInput if shapes do not fit.
    """
    affinities = _checked(affinities, window, rules, mask)
    axes = np.array([size > 1 for size in window.volume_shape])
    axes[0] &= not rules.per_section
    at_start = np.array([edge == 0 for edge in window.read_begin])
    full = int(np.iinfo(affinities.dtype).max)
    top = highest(full, int(axes.sum()), affinities.dtype)
    level = heights(affinities, at_start, axes, kernel_weights(rules.smooth), capped(rules, top))
    if mask is not None:
        level[np.asarray(mask) == 0] = -1
    if rules.background is not None:
        level[largest_affinity(affinities, at_start, axes) <= int(rules.background * full)] = -1
    begin = tuple(w - r for w, r in zip(window.write_begin, window.read_begin, strict=True))
    end = tuple(w - r for w, r in zip(window.write_end, window.read_begin, strict=True))
    place = (window.read_begin, window.volume_shape)
    before = tuple(max(0, edge - 1) for edge in begin)
    links = link_voxels(level, affinities, axes, bars(rules, affinities.dtype, top), before, end, *place)
    ids = label_links(links, level, begin, end, *place)
    return ids, _low_faces(links, begin, end)


def capped(rules: WatershedRules, top: int) -> int:
    """The height of tops, if all affinities are full at height `top`."""
    return top + 1 if rules.cap is None else max(1, int(rules.cap * top))


def bars(rules: WatershedRules, dtype: np.dtype[Any], top: int) -> Bars:
    """The rules in the units of heights, which reach `top`, and of affinities of the type."""
    full = int(np.iinfo(dtype).max)
    low = dtype.type(int(np.ceil(rules.low * full)))
    weight, dip = int(rules.affinity_weight * top) // full, int(rules.dip * top)
    return Bars(low, np.int32(capped(rules, top)), np.int32(weight), np.int32(dip))


def _low_faces(links: np.ndarray, begin: tuple[int, ...], end: tuple[int, ...]) -> list[np.ndarray]:
    """The links of a block's low faces with the voxels before them."""
    block = links[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))]
    faces = (block[0] & TO_Z, block[:, 0] & TO_Y, block[:, :, 0] & TO_X)
    return [face != 0 for face in faces]


def _checked(affinities: np.ndarray, window: Window, rules: WatershedRules, mask: np.ndarray | None) -> np.ndarray:
    """The affinities, contiguous and with three channels."""
    shape = tuple(e - b for b, e in zip(window.read_begin, window.read_end, strict=True))
    if affinities.dtype not in (np.uint8, np.uint16):
        raise BadInput("affinities", "wrong type", got=affinities.dtype, wanted="uint8 or uint16")
    channels = affinities.shape[0] if affinities.ndim == 4 else 0
    if affinities.shape[1:] != shape or channels not in ((2, 3) if rules.per_section else (3,)):
        raise BadInput("affinities", "wrong shape", got=affinities.shape, wanted=(3, *shape))
    if mask is not None and mask.shape != shape:
        raise BadInput("mask", "wrong shape", got=mask.shape, wanted=shape)
    if channels == 2:
        return np.concatenate([affinities[:1], affinities])
    return np.ascontiguousarray(affinities)
