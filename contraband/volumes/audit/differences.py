"""What is wrong with stored numbers, seen next to those computed again: pure comparisons of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockwise.grid import Voxels
from blockwise.kernels.tables import count_overlap, relabel


@dataclass(frozen=True)
class Difference:
    """Voxels of one array that are wrong in the same way."""

    index: Voxels
    """The first of them, in C order, in the array."""
    text: str
    """What is stored there, and what is wrong with it."""
    voxels: int


def unequal(stored: np.ndarray, computed: np.ndarray) -> list[Difference]:
    """Where two (z, y, x) arrays differ; none or one."""
    apart = stored != computed
    at = _first(apart)
    return [_at(apart, f"stored {stored[at]}, computed {computed[at]}")] if apart.any() else []


def prediction_differences(stored: np.ndarray, computed: np.ndarray) -> tuple[list[Difference], int]:
    """Where two predictions (channel, z, y, x) differ by more than rounding may, and how many values differ by less.

    Rounding may move uint8 by one of 255 counts, and float16 by 1/128 of itself (at least of 1).
    """
    one, other = stored.astype(np.float32), computed.astype(np.float32)
    allowed = np.float32(1) if stored.dtype.kind == "u" else np.maximum(np.abs(one), 1) / np.float32(128)
    differ = (stored != computed) & ~(np.isnan(one) & np.isnan(other))
    apart = differ & ~(np.abs(one - other) <= allowed)
    rounded = int(np.count_nonzero(differ & ~apart))
    if not apart.any():
        return [], rounded
    at = _first(apart.any(0))
    channel = int(np.argmax(apart[(slice(None), *at)]))
    values = stored[(channel, *at)], computed[(channel, *at)]
    return [_at(apart.any(0), f"channel {channel}: stored {values[0]}, computed {values[1]}")], rounded


def fragment_differences(stored: np.ndarray, computed: np.ndarray, begin: Voxels, volume: Voxels) -> list[Difference]:
    """Where final fragment numbers contradict the links within a box of the volume.

    stored:   (z, y, x) uint64, final numbers; a fragment may go on outside of the box.
    computed: (z, y, x) uint64, components of the links within the box, called 1 + their smallest voxel's index.
    begin, volume: first voxel of the box, and shape of the volume.
    A component that touches no side of the box but the volume's own is a whole fragment: its number is known. Of any
    other it is known that its voxels have one number, not above its own, not that of a whole fragment, and borne
    by the voxel it stands for, if that lies in the box.
    """
    number = _most_frequent(stored, computed)
    whole = ~np.isin(computed, _touching_sides(computed, begin, volume))
    taken = np.isin(stored, np.unique(computed[whole])) & (stored != computed) & (stored != 0)
    wrong = [
        ((stored == 0) != (computed == 0), "background and foreground are exchanged"),
        (stored != number, "linked with voxels of the number {number}"),
        (whole & (stored != computed), "the whole fragment is known to be {computed}"),
        (taken, "this number is that of a whole fragment elsewhere"),
        (stored > computed, "larger than {computed}, to which it is linked"),
        (_orphans(stored, begin, volume), "the voxel this number stands for has another"),
    ]
    found, seen = [], np.zeros(stored.shape, bool)
    for mask, reason in wrong:
        fresh = mask & ~seen
        if fresh.any():
            at = _first(fresh)
            said = reason.format(number=number[at], computed=computed[at])
            found.append(_at(fresh, f"stored {stored[at]}: {said}"))
        seen |= mask
    return found


def index_in(ids: np.ndarray, begin: Voxels, shape: Voxels, volume: Voxels) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) places in a box of the voxels that fragment numbers (n,) stand for, and (n,) whether they lie in it."""
    place = np.stack(np.unravel_index(ids.astype(np.int64) - 1, volume), axis=1) - begin
    return place, ((place >= 0) & (place < shape)).all(axis=1)


def table_difference(stored: np.ndarray, computed: np.ndarray) -> str:
    """The first row of two sorted tables that is not in both; empty if they are equal."""
    if len(stored) == len(computed) and (stored == computed).all():
        return ""
    for row, other in zip(stored, computed, strict=False):
        if row != other:
            return f"stored {row}, computed {other}"
    return f"stored {len(stored)} rows, computed {len(computed)}"


def _most_frequent(stored: np.ndarray, computed: np.ndarray) -> np.ndarray:
    """For each voxel, the stored number that most voxels of its computed component have (ties: the largest)."""
    pairs = count_overlap(computed, stored)
    pairs = pairs[np.lexsort((pairs["voxels"], pairs["fragment"]))]
    last = np.flatnonzero(np.r_[pairs["fragment"][1:] != pairs["fragment"][:-1], True])
    return relabel(computed, pairs["fragment"][last], pairs["truth"][last])


def _touching_sides(computed: np.ndarray, begin: Voxels, volume: Voxels) -> np.ndarray:
    """Components with a voxel on a side of the box that is not one of the volume."""
    sides = []
    for axis, (start, count, size) in enumerate(zip(begin, computed.shape, volume, strict=True)):
        sides += [computed.take(0, axis).ravel()] if start > 0 else []
        sides += [computed.take(-1, axis).ravel()] if start + count < size else []
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *sides]))


def _orphans(stored: np.ndarray, begin: Voxels, volume: Voxels) -> np.ndarray:
    """Voxels whose number stands for a voxel of the box that bears another, or for none of the volume."""
    ids = np.unique(stored[stored > 0])
    beyond = ids > np.uint64(np.prod(volume, dtype=np.uint64))
    ids, wrong = ids[~beyond], ids[beyond]
    place, inside = index_in(ids, begin, stored.shape, volume)
    bearer = stored[tuple(place[inside].T)]
    return np.isin(stored, np.concatenate([wrong, ids[inside][bearer != ids[inside]]]))


def _first(mask: np.ndarray) -> Voxels:
    z, y, x = np.unravel_index(int(np.argmax(mask)), mask.shape)
    return int(z), int(y), int(x)


def _at(mask: np.ndarray, text: str) -> Difference:
    return Difference(_first(mask), text, int(np.count_nonzero(mask)))
