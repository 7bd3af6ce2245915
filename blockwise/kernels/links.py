# mypy: allow-untyped-defs
"""Which neighbours a voxel is linked with, and the components of the links within a block."""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled, mix64

TO_X, TO_Y, TO_Z = 1, 2, 4
"""Bits of a link: the voxel belongs with the one before it along x, y, z."""

TIED = np.int32(8)
"""Added to a direction (0 none; 1 to 6 as in `_STEPS`) when the highest neighbours are equally high."""

_STEPS = ((0, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 0, -1), (1, 0, 0), (0, 1, 0), (0, 0, 1))


@compiled
def _climb(best, code, height, affinity, low, direction):
    """Offer a row of neighbours to a row of voxels: keep the highest so far, and note ties."""
    direction = np.int32(direction)
    for x in range(len(best)):
        other = height[x] if affinity[x] >= low else np.int32(-1)
        tied = code[x] | TIED if other == best[x] else code[x]
        code[x] = direction if other > best[x] else tied
        best[x] = max(best[x], other)


@compiled
def _climb_all(best, code, height, direction):
    """As `_climb` where every affinity links."""
    direction = np.int32(direction)
    for x in range(len(best)):
        other = height[x]
        tied = code[x] | TIED if other == best[x] else code[x]
        code[x] = direction if other > best[x] else tied
        best[x] = max(best[x], other)


@compiled
def _join_tops(links, height, other, affinity, low, cap, bit):
    """Link voxels that are both as high as can be, along the axis of `bit`."""
    for x in range(len(links)):
        both = height[x] == cap and other[x] == cap and affinity[x] >= low
        links[x] |= bit if both else np.uint8(0)


@compiled
def _break_tie(heights, affinities, axes, low, at, origin, shape):
    """The direction of the neighbour with the largest key (height, mix64 of its voxel index), or 0."""
    best, best_mix, direction = heights[at], np.uint64(0), 0
    for step in range(7):
        if step and not axes[(step - 1) % 3]:
            continue
        z, y, x = at[0] + _STEPS[step][0], at[1] + _STEPS[step][1], at[2] + _STEPS[step][2]
        if not (0 <= z < heights.shape[0] and 0 <= y < heights.shape[1] and 0 <= x < heights.shape[2]):
            continue
        owner = (max(z, at[0]), max(y, at[1]), max(x, at[2]))
        if step and affinities[(step - 1) % 3, owner[0], owner[1], owner[2]] < low:
            continue
        index = ((z + origin[0]) * shape[1] + y + origin[1]) * shape[2] + x + origin[2]
        mixed = mix64(np.uint64(index))
        if heights[z, y, x] > best or (heights[z, y, x] == best and (mixed > best_mix or step == 0)):
            best, best_mix, direction = heights[z, y, x], mixed, step
    return direction


@compiled
def _row_directions(heights, affinities, axes, low, cap, z, y, code, best, links):
    """Directions and ties of one whole row of the box, and the links between tops on its low sides."""
    nz, ny, nx = heights.shape
    height = heights[z, y]
    best[:] = height
    code[:] = 0
    every = low == 0
    for axis in range(2):
        if not axes[axis]:
            continue
        dz, dy, bit = 1 - axis, axis, np.uint8(TO_Z if axis == 0 else TO_Y)
        if z >= dz and y >= dy:
            other, affinity = heights[z - dz, y - dy], affinities[axis, z, y]
            _join_tops(links, height, other, affinity, low, cap, bit)
            if every:
                _climb_all(best, code, other, axis + 1)
            else:
                _climb(best, code, other, affinity, low, axis + 1)
        if z + dz < nz and y + dy < ny:
            other, affinity = heights[z + dz, y + dy], affinities[axis, z + dz, y + dy]
            if every:
                _climb_all(best, code, other, axis + 4)
            else:
                _climb(best, code, other, affinity, low, axis + 4)
    if axes[2]:
        after, affinity = height[1:], affinities[2, z, y][1:]
        _join_tops(links[1:], after, height[: nx - 1], affinity, low, cap, np.uint8(TO_X))
        if every:
            _climb_all(best[1:], code[1:], height[: nx - 1], 3)
            _climb_all(best[: nx - 1], code[: nx - 1], after, 6)
        else:
            _climb(best[1:], code[1:], height[: nx - 1], affinity, low, 3)
            _climb(best[: nx - 1], code[: nx - 1], after, affinity, low, 6)


@compiled
def _mark(links, code, direction, bit):
    for x in range(len(links)):
        links[x] |= bit if code[x] == direction else np.uint8(0)


@compiled
def _mark_row(links, code, z, y):
    """Turn one row of directions into links, each kept at the later voxel of its two."""
    nz, ny, nx = links.shape
    _mark(links[z, y], code, 1, np.uint8(TO_Z))
    _mark(links[z, y], code, 2, np.uint8(TO_Y))
    _mark(links[z, y], code, 3, np.uint8(TO_X))
    if z + 1 < nz:
        _mark(links[z + 1, y], code, 4, np.uint8(TO_Z))
    if y + 1 < ny:
        _mark(links[z, y + 1], code, 5, np.uint8(TO_Y))
    _mark(links[z, y, 1:], code[: nx - 1], 6, np.uint8(TO_X))


@compiled
def link_voxels(heights, affinities, axes, low, cap, begin, end, origin, shape):
    """Links of the voxels of a box with the voxels before them, (z, y, x) uint8 of TO_X, TO_Y, TO_Z.

    heights:    (z, y, x) int32 from `heights`; -1 where a voxel is background.
    affinities: (3, z, y, x) of the same box; a neighbour counts if its affinity is at least `low`.
    begin, end: the rows looked at, in the box; links are complete for voxels after `begin` and before `end`.
    origin:     first voxel of the box in the volume of `shape`; both decide ties.
    A voxel is linked with its highest neighbour if that is higher, and tops (height `cap`) among themselves.
    """
    nx = heights.shape[2]
    links = np.zeros(heights.shape, np.uint8)
    code, best = np.empty(nx, np.int32), np.empty(nx, np.int32)
    for z in range(begin[0], end[0]):
        for y in range(begin[1], end[1]):
            height = heights[z, y]
            _row_directions(heights, affinities, axes, low, cap, z, y, code, best, links[z, y])
            for x in range(nx):
                if height[x] < 0 or height[x] == cap:
                    code[x] = 0
                elif code[x] & TIED:
                    code[x] = _break_tie(heights, affinities, axes, low, (z, y, x), origin, shape)
            _mark_row(links, code, z, y)
    return links


@compiled
def _root(parents, label):
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@compiled
def _unite(parents, first, second):
    """Join two labels under the smaller root, which is returned."""
    first, second = _root(parents, first), _root(parents, second)
    if first < second:
        parents[second] = first
        return first
    parents[first] = second
    return second


@compiled
def _count_starts(links, heights, begin, end):
    """An upper bound of the labels needed: foreground voxels without a link to a voxel before them."""
    starts = 0
    for z in range(begin[0], end[0]):
        for y in range(begin[1], end[1]):
            edge = z == begin[0] or y == begin[1]
            for x in range(begin[2], end[2]):
                starts += heights[z, y, x] >= 0 and (edge or x == begin[2] or links[z, y, x] == 0)
    return starts


@compiled
def _label_row(row, before_y, before_z, links, allowed, height, parents, used):
    """Label one row from its links; returns how many labels are used. Label 0 is background."""
    left = np.uint32(0)
    for x in range(len(row)):
        link = links[x] & (allowed if x else allowed & ~TO_X)
        if height[x] < 0:
            label = np.uint32(0)
        elif link == 0:
            label = np.uint32(used)
            parents[label] = label
            used += 1
        else:
            label = left if link & TO_X else (before_y[x] if link & TO_Y else before_z[x])
            if link & TO_Y and before_y[x] != label:
                label = _unite(parents, label, before_y[x])
            if link & TO_Z and before_z[x] != label:
                label = _unite(parents, label, before_z[x])
        row[x] = left = label
    return used


@compiled
def label_links(links, heights, begin, end, origin, shape):
    """Ids (z, y, x) uint64 of the components of the links within `begin` to `end` of the box.

    An id is 1 + the smallest index in the volume of its component; 0 where the height is -1.
    """
    capacity = _count_starts(links, heights, begin, end) + 1
    parents = np.zeros(capacity, np.uint32)
    firsts = np.zeros(capacity, np.uint64)
    labels = np.empty((end[0] - begin[0], end[1] - begin[1], end[2] - begin[2]), np.uint32)
    used = 1
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            allowed = TO_X | (TO_Y if y else 0) | (TO_Z if z else 0)
            row, at = labels[z, y], (z + begin[0], y + begin[1])
            known = used
            link_row = links[at[0], at[1], begin[2] : end[2]]
            height = heights[at[0], at[1], begin[2] : end[2]]
            before_y, before_z = labels[z, max(y - 1, 0)], labels[max(z - 1, 0), y]
            used = _label_row(row, before_y, before_z, link_row, allowed, height, parents, used)
            index = ((at[0] + origin[0]) * shape[1] + at[1] + origin[1]) * shape[2] + begin[2] + origin[2]
            if used > known:
                for x in range(labels.shape[2]):
                    if row[x] == known and known < used:
                        firsts[known] = np.uint64(index + x + 1)
                        known += 1
    for label in range(1, used):
        firsts[label] = firsts[_root(parents, np.uint32(label))]
    return _write_ids(labels, firsts)


@compiled
def _write_ids(labels, firsts):
    ids = np.empty(labels.shape, np.uint64)
    flat, source = ids.ravel(), labels.ravel()
    for index in range(len(flat)):
        flat[index] = firsts[source[index]]
    return ids
