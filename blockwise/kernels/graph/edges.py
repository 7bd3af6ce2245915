# mypy: allow-untyped-defs
"""Edges between fragments: integer sums of the affinities across their faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blockwise.errors import BadInput
from blockwise.kernels.compiled import compiled
from blockwise.kernels.pairs import empty_table, find_row, order_pairs, with_room

EDGE = np.dtype([("u", "<u8"), ("v", "<u8"), ("sum", "<u8"), ("count", "<u4")])
"""Two touching fragments, u < v: the sum of the affinities between them, and how many were summed."""

HISTOGRAM = np.dtype([("u", "<u8"), ("v", "<u8"), ("bin", "u1"), ("count", "<u8")])
"""Two touching fragments, u < v, and how many affinities between them lie in a bin: their upper 8 bits."""

Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@compiled
def _add_row(ids, others, affinities, bits, table, used):
    """Add the pairs of one row to the table; returns the rows used."""
    last_id = np.uint64(0)
    last_other = np.uint64(0)
    last_bin = np.uint64(0)
    row = -1
    wide, down = np.uint64(bits[0]), np.uint64(bits[1])
    total, count = table[3], table[4]
    for x in range(len(ids)):
        one, other = ids[x], others[x]
        if one == other or one == 0 or other == 0:
            continue
        level = np.uint64(affinities[x]) >> down
        if one != last_id or other != last_other or level != last_bin:
            row = find_row(table, used, min(one, other), (max(one, other) << wide) | level)
            used += row == used
            last_id = one
            last_other = other
            last_bin = level
        total[row] += np.uint64(affinities[x])
        count[row] += np.uint32(1)
    return used


@compiled
def _count(ids, affinities, offsets, margin, bits):
    """Columns u, v, sum, count of the pairs; v has the bin of the affinity in its lowest bits.

    bits: how many these are, and how far an affinity is shifted down to give its bin.
    """
    channels, nz, ny, nx = affinities.shape
    table, used = empty_table(2048), 0
    for z in range(nz):
        for y in range(ny):
            table = with_room(table, used, channels * nx)
            for channel in range(channels):
                dz, dy, dx = offsets[channel]
                oz = z + margin[0] + dz
                oy = y + margin[1] + dy
                first = max(0, -dx - margin[2])
                if oz < 0 or oy < 0 or first >= nx:
                    continue
                own = ids[z + margin[0], y + margin[1], margin[2] + first : margin[2] + nx]
                others = ids[oz, oy, margin[2] + first + dx :]
                used = _add_row(own, others, affinities[channel, z, y, first:], bits, table, used)
    return table[1][:used].copy(), table[2][:used].copy(), table[3][:used].copy(), table[4][:used].copy()


def count_edges(
    ids: np.ndarray, affinities: np.ndarray, offsets: Sequence[Sequence[int]], margin: Sequence[int]
) -> np.ndarray:
    """The edges of the pairs that the voxels of a block own, EDGE sorted by (u, v).

    ids:        (z, y, x) uint64 over the block grown by `margin` voxels on its low sides; 0 is background.
    affinities: (channel, z, y, x) uint8 or uint16 over the block.
    offsets:    for each channel the other voxel of a pair, (z, y, x); none positive, one negative at least.
    margin:     the longest offset, less where the volume ends before: such pairs do not exist.
    A voxel owns (voxel, voxel + offset); a pair counts if both ids differ and neither is 0.
    Raises BadInput if shapes do not fit, or an offset is positive or zero.
    """
    return _records(*_counted(ids, affinities, offsets, margin, (0, 63)))


def count_histograms(
    ids: np.ndarray, affinities: np.ndarray, offsets: Sequence[Sequence[int]], margin: Sequence[int]
) -> np.ndarray:
    """The histograms of the same edges, HISTOGRAM sorted by (u, v, bin); see `count_edges`."""
    if ids.size and int(ids.max()) >> 56:
        raise BadInput("fragments", "are numbered too high for histograms", wanted="numbers below 2**56")
    u, v, _, count = _counted(ids, affinities, offsets, margin, (8, 8 * (affinities.dtype.itemsize - 1)))
    rows = np.empty(len(u), HISTOGRAM)
    rows["u"], rows["v"], rows["bin"], rows["count"] = u, v >> np.uint64(8), v & np.uint64(255), count
    return rows


def _counted(
    ids: np.ndarray,
    affinities: np.ndarray,
    offsets: Sequence[Sequence[int]],
    margin: Sequence[int],
    bits: tuple[int, int],
) -> Columns:
    """Sorted columns of `_count`, after the checks."""
    steps = np.array(offsets, np.int64).reshape(-1, 3)
    if (steps > 0).any() or not (steps < 0).any(axis=1).all():
        raise BadInput("offsets", "not all negative", got=offsets, wanted="voxels before, e.g. [-1, 0, 0]")
    grown = tuple(size + more for size, more in zip(affinities.shape[1:], margin, strict=True))
    if affinities.ndim != 4 or len(steps) != len(affinities) or ids.shape != grown:
        got = (ids.shape, affinities.shape)
        raise BadInput("edges", "shapes do not fit", got=got, wanted=(grown, len(steps)))
    sides = (int(margin[0]), int(margin[1]), int(margin[2]))
    columns = _count(np.ascontiguousarray(ids, np.uint64), np.ascontiguousarray(affinities), steps, sides, bits)
    order = order_pairs(columns[0], columns[1])
    u, v, total, count = (column[order] for column in columns)
    return u, v, total, count


def _records(u: np.ndarray, v: np.ndarray, total: np.ndarray, count: np.ndarray) -> np.ndarray:
    edges = np.empty(len(u), EDGE)
    edges["u"] = u
    edges["v"] = v
    edges["sum"] = total
    edges["count"] = count
    return edges


def _ascend(u: np.ndarray, v: np.ndarray) -> bool:
    """Whether pairs are sorted and unique."""
    return bool(((u[1:] > u[:-1]) | ((u[1:] == u[:-1]) & (v[1:] > v[:-1]))).all())


@compiled
def _add_equal(u, v, total, count, order):
    """Pairs taken in a sorted order, equal ones added."""
    out = (np.empty_like(u), np.empty_like(v), np.empty_like(total), np.empty_like(count))
    size = 0
    for row in order:
        if size and out[0][size - 1] == u[row] and out[1][size - 1] == v[row]:
            out[2][size - 1] += total[row]
            out[3][size - 1] += count[row]
        else:
            out[0][size] = u[row]
            out[1][size] = v[row]
            out[2][size] = total[row]
            out[3][size] = count[row]
            size += 1
    return out[0][:size], out[1][:size], out[2][:size], out[3][:size]


def _sorted_sums(edges: np.ndarray) -> np.ndarray:
    """The edges sorted by (u, v), those of equal pairs added."""
    u, v = np.ascontiguousarray(edges["u"]), np.ascontiguousarray(edges["v"])
    if _ascend(u, v):
        return edges
    total = np.ascontiguousarray(edges["sum"])
    count = np.ascontiguousarray(edges["count"])
    return _records(*_add_equal(u, v, total, count, order_pairs(u, v)))


def merge_edges(tables: Sequence[np.ndarray]) -> np.ndarray:
    """All edges of the tables, sorted by (u, v), equal pairs added; in any order of tables and rows."""
    return _sorted_sums(tables[0] if len(tables) == 1 else np.concatenate([np.empty(0, EDGE), *tables]))


def rename_edges(edges: np.ndarray, old_sorted: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The edges between the new ids, sorted, equal pairs added and those within one id dropped.

    old_sorted, new: (n,) uint64; an id that is not among the old ones stays.
    """
    return _sorted_sums(rename_ends(edges, old_sorted, new))


def rename_ends(rows: np.ndarray, old_sorted: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Rows with fields u < v, with new ids there; those within one id are dropped, nothing is added up."""
    if not len(old_sorted) or not len(rows):
        return rows
    first, second = (_renamed(np.ascontiguousarray(rows[end]), old_sorted, new) for end in ("u", "v"))
    across = first != second
    renamed: np.ndarray = rows[across]
    renamed["u"] = np.minimum(first, second)[across]
    renamed["v"] = np.maximum(first, second)[across]
    return renamed


def _renamed(ids: np.ndarray, old_sorted: np.ndarray, new: np.ndarray) -> np.ndarray:
    row = np.minimum(np.searchsorted(old_sorted, ids), len(old_sorted) - 1)
    result: np.ndarray = np.where(old_sorted[row] == ids, new[row], ids)
    return result
