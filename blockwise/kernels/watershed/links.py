# mypy: allow-untyped-defs
"""Which neighbours a voxel is linked with, and the components of the links within a block."""

from __future__ import annotations

import numpy as np

from blockwise.kernels.compiled import compiled
from blockwise.kernels.watershed.steps import best_step, bridge

Voxel = tuple[int, ...]

TO_X = 1
TO_Y = 2
TO_Z = 4
"""Bits of a link: the voxel belongs with the one before it along x, y, z."""

TIED = np.int32(8)
"""Added to a direction (0 none; 1 to 6 as in `STEPS`) where equal heights or equal values leave the choice open."""


@compiled
def _climb(best, code, own, height, affinity, bars, direction):
    """Offer a row of neighbours to a row of voxels: keep the best of those not lower, and note ties."""
    direction = np.int32(direction)
    for x in range(len(best)):
        value = np.int32(height[x] + bars.weight * np.int32(affinity[x]))
        value = value if height[x] >= own[x] and affinity[x] >= bars.low else np.int32(-2)
        chosen = direction | TIED if height[x] == own[x] else direction
        tied = code[x] | TIED if value == best[x] else code[x]
        code[x] = chosen if value > best[x] else tied
        best[x] = max(best[x], value)


@compiled
def _join_tops(links, height, other, affinity, low, cap, bit):
    """Link voxels that are both as high as can be, along the axis of `bit`."""
    for x in range(len(links)):
        both = height[x] == cap and other[x] == cap and affinity[x] >= low
        links[x] |= bit if both else np.uint8(0)


@compiled
def _row_directions(heights, affinities, axes, bars, z, y, code, best, links):
    """Directions and ties of one whole row of the box, and the links between tops on its low sides."""
    nz, ny, nx = heights.shape
    own = heights[z, y]
    low = bars.low
    cap = bars.cap
    best[:] = -1
    code[:] = 0
    # Along z and y a neighbour is a whole row away: all voxels of the row are compared with it in one loop without
    # branches, which the compiler turns into vector instructions.
    for axis in range(2):
        if not axes[axis]:
            continue
        dz = 1 - axis
        dy = axis
        bit = np.uint8(TO_Z if axis == 0 else TO_Y)
        if z >= dz and y >= dy:
            other, affinity = heights[z - dz, y - dy], affinities[axis, z, y]
            _join_tops(links, own, other, affinity, low, cap, bit)
            _climb(best, code, own, other, affinity, bars, axis + 1)
        if z + dz < nz and y + dy < ny:
            _climb(best, code, own, heights[z + dz, y + dy], affinities[axis, z + dz, y + dy], bars, axis + 4)
    # Along x the neighbours are the row itself, shifted by one voxel.
    if axes[2]:
        after, affinity = own[1:], affinities[2, z, y][1:]
        _join_tops(links[1:], after, own[: nx - 1], affinity, low, cap, np.uint8(TO_X))
        _climb(best[1:], code[1:], after, own[: nx - 1], affinity, bars, 3)
        _climb(best[: nx - 1], code[: nx - 1], own[: nx - 1], after, affinity, bars, 6)


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
def link_voxels(heights, affinities, axes, bars, begin, end, origin, shape):
    """Links of the voxels of a box with the voxels before them, (z, y, x) uint8 of TO_X, TO_Y, TO_Z.

    heights:    (z, y, x) int32 from `heights`; -1 where a voxel is background.
    affinities: (3, z, y, x) of the same box.
    begin, end: the rows looked at, in the box; links are complete for voxels after `begin` and before `end`.
    origin:     first voxel of the box in the volume of `shape`; both decide ties.
    Tops (height `cap`) are linked among themselves, any other voxel with one neighbour: see `steps`.
    """
    nx = heights.shape[2]
    links = np.zeros(heights.shape, np.uint8)
    code, best = np.empty(nx, np.int32), np.empty(nx, np.int32)
    # Of most voxels the comparison of rows settles the direction. What is looked at one by one, with the rule in full,
    # are ties and voxels that no neighbour is above.
    for z in range(begin[0], end[0]):
        for y in range(begin[1], end[1]):
            height = heights[z, y]
            _row_directions(heights, affinities, axes, bars, z, y, code, best, links[z, y])
            for x in range(nx):
                # Background has no links; tops have those among themselves, and take no step.
                if height[x] < 0 or height[x] == bars.cap:
                    code[x] = 0
                    continue
                # Equals are told apart by their place in the volume, so that every block that sees them decides alike.
                if code[x] & TIED:
                    code[x] = best_step(heights, affinities, axes, bars, (z, y, x), origin, shape)
                # A peak next to a higher one, with a shallow dip between them, is noise: it would become a fragment of
                # its own.
                if code[x] == 0 and bars.dip > 0:
                    code[x] = bridge(heights, affinities, axes, bars, (z, y, x), origin, shape)
            # A link is kept by the later of its two voxels, which may lie in a row that comes next: bits are added, not
            # written.
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
        # Links that lead out of the box are left to the joining of blocks.
        link = links[x] & (allowed if x else allowed & ~TO_X)
        if height[x] < 0:
            label = np.uint32(0)
        elif link == 0:
            label = np.uint32(used)
            parents[label] = label
            used += 1
        else:
            # Any of the labels will do, and mostly there is one; only where two differ something is found out.
            label = left if link & TO_X else (before_y[x] if link & TO_Y else before_z[x])
            if link & TO_Y and before_y[x] != label:
                label = _unite(parents, label, before_y[x])
            if link & TO_Z and before_z[x] != label:
                label = _unite(parents, label, before_z[x])
        row[x] = left = label
    return used


@compiled
def _label(links, heights, begin, end, origin, shape, labels):
    """Label the components within a box; returns the id of each label, 1 + its smallest voxel index."""
    # Counted beforehand, so that tables have the size needed: most voxels have a link back and need no new label.
    capacity = _count_starts(links, heights, begin, end) + 1
    parents = np.zeros(capacity, np.uint32)
    firsts = np.zeros(capacity, np.uint64)
    used = 1
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            # The rows before this one in y and z are labelled already; the first ones have none, and are given
            # themselves, where no link is allowed to look.
            allowed = TO_X | (TO_Y if y else 0) | (TO_Z if z else 0)
            row, at = labels[z, y], (z + begin[0], y + begin[1])
            known = used
            link_row = links[at[0], at[1], begin[2] : end[2]]
            height = heights[at[0], at[1], begin[2] : end[2]]
            before_y = labels[z, max(y - 1, 0)]
            before_z = labels[max(z - 1, 0), y]
            used = _label_row(row, before_y, before_z, link_row, allowed, height, parents, used)
            index = ((at[0] + origin[0]) * shape[1] + at[1] + origin[1]) * shape[2] + begin[2] + origin[2]
            # New labels stand in the row from left to right in rising order, each at the first voxel that has it.
            if used > known:
                for x in range(labels.shape[2]):
                    if row[x] == known and known < used:
                        firsts[known] = np.uint64(index + x + 1)
                        known += 1
    # Labels are joined under the smallest, the one that was handed out first. So its first voxel is that of the whole
    # component, in whatever order unions came.
    for label in range(1, used):
        firsts[label] = firsts[_root(parents, np.uint32(label))]
    return firsts


@compiled
def _write_ids(labels, firsts, ids):
    for index in range(len(ids)):
        ids[index] = firsts[labels[index]]


def label_links(
    links: np.ndarray, heights: np.ndarray, begin: Voxel, end: Voxel, origin: Voxel, shape: Voxel
) -> np.ndarray:
    """Ids (z, y, x) uint64 of the components of the links within `begin` to `end` of the box.

    An id is 1 + the smallest index in the volume of its component; 0 where the height is -1.
    """
    # Large arrays are numpy's: it asks for huge pages, which take less time to be made than those of compiled code.
    labels = np.empty([last - first for first, last in zip(begin, end, strict=True)], np.uint32)
    firsts = _label(links, heights, begin, end, origin, shape, labels)
    ids = np.empty(labels.shape, np.uint64)
    _write_ids(labels.ravel(), firsts, ids.ravel())
    return ids
