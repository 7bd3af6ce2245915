# mypy: allow-untyped-defs
"""Winding threads without end, of which each voxel belongs to the one whose centre in its plane is nearest.

They run along z and lean, so that each crosses blocks along all axes, and every `LENGTH` planes another one goes on.
Only whole numbers are added up, so it does not matter which box is computed, nor where.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from blockwise.kernels.compiled import compiled, mix64

UNIT = 8
"""Places are counted in eighths of a voxel."""
STEP = 20 * UNIT
"""From one thread to the next, on a square lattice that is then disturbed."""
LEAN = (4, 3)
"""By how much threads lie further along y and x with each plane: half a voxel, three eighths."""
OFF_LATTICE = 32
"""How far a thread lies beside its place on the lattice at most; with `WINDING` less than a third of a step, so that
the nearest thread is one of nine."""
WINDING = 20
"""How far it goes to and fro besides."""
KNOT = 64
"""Planes from one turn to the next."""
LENGTH = 1024
"""Planes after which another thread goes on."""
ORIGIN = 1 << 22
"""Added to places on the lattice, so that numbers are above 0 for volumes up to 2^24 voxels along an axis."""
FAR = 1 << 24
"""More than any distance to the nearest threads."""


class Threads(NamedTuple):
    """The threads of one plane that can be nearest to a voxel of a box; arrays are (i, j), places on the lattice."""

    first: tuple[int, int]
    """The place of [0, 0]."""
    y: np.ndarray
    """int64, where the centre lies, in units."""
    x: np.ndarray
    end: np.ndarray
    """float32, voxels to the next plane between which and its neighbour the thread ends."""
    number: np.ndarray
    """uint64 from 1 on."""


class VoxelRow(NamedTuple):
    """What is known of the voxels of a row, (X,) each."""

    best: np.ndarray
    """int32, of the nearest thread; see `fill_nearest`."""
    second: np.ndarray
    up: np.ndarray
    """int32, in which of three rows of threads the nearest one stands."""
    column: np.ndarray
    faint: np.ndarray
    """float32, as the others that follow."""
    grainy: np.ndarray
    end: np.ndarray
    place: np.ndarray
    """In units from the first voxel."""


@compiled
def room_for(width):
    """A row of so many voxels, of which nothing is known."""
    floats = np.empty((4, width), np.float32)
    for x in range(width):
        floats[3, x] = np.float32(x * UNIT)
    whole = np.empty((4, width), np.int32)
    return VoxelRow(whole[0], whole[1], whole[2], whole[3], floats[0], floats[1], floats[2], floats[3])


@compiled
def threads_of(seed, z, begin, shape):
    """The threads of plane `z` around a rectangle of voxels."""
    first = ((begin[0] * UNIT - z * LEAN[0]) // STEP - 1, (begin[1] * UNIT - z * LEAN[1]) // STEP - 1)
    rows = ((begin[0] + shape[0] - 1) * UNIT - z * LEAN[0]) // STEP + 2 - first[0]
    columns = ((begin[1] + shape[1] - 1) * UNIT - z * LEAN[1]) // STEP + 2 - first[1]
    y = np.empty((rows, columns), np.int64)
    x = np.empty_like(y)
    end = np.empty((rows, columns), np.float32)
    number = np.empty((rows, columns), np.uint64)
    for row in range(rows):
        for column in range(columns):
            i, j = first[0] + row, first[1] + column
            own = mix64(mix64(seed) + np.uint64((i + ORIGIN) * (2 * ORIGIN) + j + ORIGIN))
            y[row, column] = i * STEP + STEP // 2 + z * LEAN[0] + _wound(own, z, 0)
            x[row, column] = j * STEP + STEP // 2 + z * LEAN[1] + _wound(own, z, 1)
            since = z + np.int64(own >> np.uint64(48)) % LENGTH
            end[row, column] = min(since % LENGTH, LENGTH - 1 - since % LENGTH) + np.float32(0.5)
            number[row, column] = (i + ORIGIN) * (1 << 40) + (j + ORIGIN) * (1 << 17) + since // LENGTH
    return Threads(first, y, x, end, number)


@compiled
def _wound(own, z, axis):
    """How far a thread lies beside its place in plane `z`, in units."""
    still = np.int64(mix64(own + np.uint64(1 + axis)) >> np.uint64(40)) % (2 * OFF_LATTICE + 1) - OFF_LATTICE
    knot = z // KNOT
    left = _turn(own, knot, axis)
    return still + (left * KNOT + (_turn(own, knot + 1, axis) - left) * (z - knot * KNOT)) // KNOT


@compiled
def _turn(own, knot, axis):
    return np.int64(mix64(own + np.uint64(16 + 2 * knot + axis)) >> np.uint64(40)) % (2 * WINDING + 1) - WINDING


@compiled
def fill_nearest(threads, z, y, begin, row):
    """Squared distances from a row of voxels to the nearest two threads, times 16, plus which it is.

    They are whole numbers below 2^24, so sums of float32 are exact. Which it is: four times the row among three, plus
    the last two bits of its column. Returns the first of these rows.
    """
    at = (y * UNIT - z * LEAN[0]) // STEP - threads.first[0] - 1
    row.best[:] = FAR
    row.second[:] = FAR
    for column in range(threads.x.shape[1]):
        j = threads.first[1] + column
        low, high = max(_first_of(j - 1, z) - begin, 0), min(_first_of(j + 2, z) - begin, row.best.size)
        for up in range(3 if low < high else 0):
            beside = np.float32(y * UNIT - threads.y[at + up, column])
            centre = np.float32(threads.x[at + up, column] - begin * UNIT)
            tag = np.float32(up * 4 + (j & 3))
            _compete(centre, beside * beside, tag, row.place[low:high], row.best[low:high], row.second[low:high])
    return at


@compiled
def _compete(centre, beside, tag, place, best, second):
    """Let one thread compete for some voxels of a row; written so that eight voxels are done at once."""
    for x in range(place.size):
        along = place[x] - centre
        found = np.int32((along * along + beside) * np.float32(16) + tag)
        known = best[x]
        best[x] = min(found, known)
        second[x] = min(second[x], max(found, known))


@compiled
def fill_thread(threads, z, begin, row):
    """Where among the threads the nearest one of each voxel stands, by the sixteenths in its distance."""
    at = 0
    while at < row.best.size:
        column = ((begin + at) * UNIT - z * LEAN[1]) // STEP
        stop = min(row.best.size, _first_of(column + 1, z) - begin)
        for x in range(at, stop):
            which = row.best[x] & 15
            row.up[x] = which >> 2
            row.column[x] = column + ((which - column + 1) & 3) - 1 - threads.first[1]
        at = stop


@compiled
def _first_of(column, z):
    """The first voxel of a step of the lattice along x."""
    return -((-column * STEP - z * LEAN[1]) // UNIT)
