"""Volumes to segment, a driver that cuts them into blocks, and the slowest obvious way to label them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from blockwise.kernels.components import components, concatenate_pairs, joins
from blockwise.kernels.graph.edges import count_edges, merge_edges, rename_edges
from blockwise.kernels.graph.rules import MergeRules
from blockwise.kernels.tables import relabel
from blockwise.kernels.watershed.heights import UNITS, height_shift, kernel_weights
from blockwise.kernels.watershed.label import label_block, window

NEAREST = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
LONG = (*NEAREST, (-2, 0, 0), (0, -3, -1), (-1, 0, -4))
ALL_MERGES = MergeRules(stop=0.0)
"""By the mean, until nothing is left to merge."""
BLOCKS = ((2, 2, 2), (3, 3, 3), (5, 2, 7), (1, 4, 1), (16, 3, 5), (99, 99, 99))


def noise(shape, levels=256, seed=0, dtype=np.uint8, channels=3):
    """Affinities of equally spaced levels from 0 to full, without any structure."""
    full = np.iinfo(dtype).max
    values = np.random.default_rng(seed).integers(0, levels, (channels, *shape))
    return (values * full // (levels - 1)).astype(dtype)


def cells(shape, seed=0, dtype=np.uint8, spread=1.5):
    """Affinities like a network's: high within blobs, low between them."""
    from scipy.ndimage import gaussian_filter

    full = np.iinfo(dtype).max
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), spread)
    inside = np.clip(np.abs(field) / np.abs(field).std() * 2, 0, 1)
    joined = [np.minimum(inside, np.roll(inside, 1, axis)) for axis in range(3)]
    return np.round(np.stack(joined) * full).astype(dtype)


def blocks(shape, block, seed=0) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """First and last + 1 voxel of every block of a volume, shuffled."""
    starts = list(itertools.product(*(range(0, size, step) for size, step in zip(shape, block, strict=True))))
    for at in np.random.default_rng(seed).permutation(len(starts)):
        begin = starts[at]
        end = tuple(min(size, b + step) for size, b, step in zip(shape, begin, block, strict=True))
        yield begin, end


def box(begin, end):
    """The slices of a box."""
    return tuple(slice(b, e) for b, e in zip(begin, end, strict=True))


def label_blocks(affinities, rules, block, mask=None, seed=0):
    """Provisional ids of the whole volume, and the pairs that are one fragment."""
    shape = affinities.shape[1:]
    ids, linked = np.zeros(shape, np.uint64), {}
    for begin, end in blocks(shape, block, seed):
        at = window(rules, shape, begin, end)
        read = box(at.read_begin, at.read_end)
        cropped = None if mask is None else mask[read]
        ids[box(begin, end)], linked[begin] = label_block(affinities[(slice(None), *read)], at, rules, cropped)
    pairs = []
    for begin, end in blocks(shape, block, seed + 1):
        for axis in range(3):
            if begin[axis]:
                below = [slice(b, e) for b, e in zip(begin, end, strict=True)]
                face = list(below)
                face[axis], below[axis] = begin[axis], begin[axis] - 1
                pairs.append(joins(ids[tuple(face)], ids[tuple(below)], linked[begin][axis]))
            else:
                assert not linked[begin][axis].any()
    return ids, concatenate_pairs(pairs)


def fragments(affinities, rules, block=None, mask=None, seed=0):
    """Final fragment ids of a volume, made in blocks."""
    ids, pairs = label_blocks(affinities, rules, block or affinities.shape[1:], mask, seed)
    return relabel(ids, *components(pairs))


def edges_by_blocks(ids, affinities, offsets, block, names=None, seed=0):
    """The edges of a volume, counted in blocks and merged in a random order."""
    shape, parts = ids.shape, []
    reach = [-min(0, *(offset[axis] for offset in offsets)) for axis in range(3)]
    for begin, end in blocks(shape, block, seed):
        margin = [min(far, b) for far, b in zip(reach, begin, strict=True)]
        grown = [b - far for b, far in zip(begin, margin, strict=True)]
        own = affinities[(slice(None), *box(begin, end))]
        part = count_edges(ids[box(grown, end)], own, offsets, margin)
        parts.append(part if names is None else rename_edges(part, *names))
    return merge_edges(parts)


def slow_heights(affinities, rules, cap):
    """Heights of a whole volume, one voxel sum after the other."""
    shape = affinities.shape[1:]
    axes = [axis for axis in range(3) if shape[axis] > 1 and not (rules.per_section and axis == 0)]
    total = np.zeros(shape, np.int64)
    for axis in axes:
        channel = np.moveaxis(affinities[axis].astype(np.int64), axis, 0).copy()
        channel[0] = channel[1]
        above = np.concatenate([channel[1:], channel[-1:]])
        total += np.moveaxis(channel + above, 0, axis)
    weights = kernel_weights(rules.smooth).astype(np.int64)
    for axis in (2, 1, 0):
        if axis == 0:
            total >>= height_shift(affinities.dtype)
        if axis not in axes:
            total *= UNITS
            continue
        radius = len(weights) - 1
        padded = np.pad(total, [(radius, radius) if a == axis else (0, 0) for a in range(3)], mode="symmetric")
        taps = range(-radius, radius + 1)
        size = shape[axis]
        total = sum(weights[abs(tap)] * np.take(padded, range(radius + tap, radius + tap + size), axis) for tap in taps)
    return np.minimum(total, cap)


def slow_mix64(value):
    """splitmix64 in Python integers."""
    full = 2**64 - 1
    mixed = (value + 0x9E3779B97F4A7C15) & full
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & full
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & full
    return mixed ^ (mixed >> 31)


def slow_fragments(affinities, rules, mask=None):
    """Fragments of a whole volume, voxel by voxel, as the rules say it."""
    shape, full = affinities.shape[1:], int(np.iinfo(affinities.dtype).max)
    axes = [axis for axis in range(3) if shape[axis] > 1 and not (rules.per_section and axis == 0)]
    top = ((2 * len(axes) * full * UNITS**2) >> height_shift(affinities.dtype)) * UNITS
    cap = top + 1 if rules.cap is None else max(1, int(rules.cap * top))
    height = slow_heights(affinities, rules, cap)
    neighbours = slow_neighbours(affinities, axes)
    inside = {at: mask is None or bool(mask[at]) for at in neighbours}
    if rules.background is not None:
        for at, near in neighbours.items():
            inside[at] &= max(near.values(), default=0) > int(rules.background * full)
    least = rules.low * full
    near = {
        at: {other: value for other, value in others.items() if inside[at] and inside[other] and value >= least}
        for at, others in neighbours.items()
    }
    key = {at: (int(height[at]), slow_mix64(int(np.ravel_multi_index(at, shape)))) for at in neighbours}
    weight = int(rules.affinity_weight * top) // full

    def step(at):
        """The voxel climbed to, if any."""
        higher = [other for other in near[at] if key[other] > key[at] and key[at][0] < cap]
        return max(higher, key=lambda other: (key[other][0] + weight * near[at][other], key[other][1]), default=None)

    links = []
    for at in neighbours:
        links += [(at, other) for other in near[at] if key[at][0] == key[other][0] == cap]
        if (chosen := step(at)) is not None:
            links.append((at, chosen))
        elif int(rules.dip * top) and key[at][0] < cap:
            around = [other for other in near[at] if key[other][0] >= key[at][0] - int(rules.dip * top)]
            ends = [(key[end], other) for other in around if (end := step(other)) is not None and key[end] > key[at]]
            links += [(at, max(ends, key=lambda pair: pair[0])[1])] if ends else []
    return slow_components(shape, inside, links)


def slow_neighbours(affinities, axes):
    """The neighbours of each voxel and the affinity with each, in the order of directions: before z, y, x, after."""
    shape, found = affinities.shape[1:], {}
    for at in np.ndindex(shape):
        near = found[at] = {}
        for step, axis in itertools.product((-1, 1), axes):
            other = tuple(c + step * (a == axis) for a, c in enumerate(at))
            if 0 <= other[axis] < shape[axis]:
                near[other] = int(affinities[(axis, *max(at, other))])
    return found


def slow_components(shape, inside, links):
    """Ids of connected voxels: 1 + the smallest index, 0 outside."""
    parent = {at: at for at in inside}

    def root(at):
        while parent[at] != at:
            at = parent[at]
        return at

    for one, other in links:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    ids = np.zeros(shape, np.uint64)
    for at in inside:
        ids[at] = 1 + np.ravel_multi_index(root(at), shape) if inside[at] else 0
    return ids
