"""The fragments that were looked at last, kept in two bytes a voxel: a new threshold reads nothing from disk."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from blockwise.kernels.tables import distinct, relabel
from contraband.volumes.view.pieces import Factor

BLOCK_VX = 64
"""Voxels along each axis that are read and kept together, so that the next plane is there already."""
KEPT_BYTES = 1 << 29
"""What is kept: at two bytes a voxel, the blocks of a screen of 2000 by 2000 voxels."""


@dataclass(frozen=True)
class PackedBlock:
    """A block of fragments: which there are, and a short number for each voxel."""

    fragments: np.ndarray
    """(n,) uint64, the first is 0."""
    places: np.ndarray
    """(z, y, x) of the smallest unsigned type, places in `fragments`."""

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self.fragments.nbytes + self.places.nbytes


class KeptFragments:
    """Regions of an array of fragments, at full size or in steps. Safe to use from several threads."""

    def __init__(self, load: Callable[[tuple[slice, ...]], np.ndarray], shape: Sequence[int]) -> None:
        """load: gives a region of voxels, (z, y, x) uint64. shape: of the array."""
        self._load = load
        self._shape = tuple(shape)
        self._kept: OrderedDict[tuple[tuple[int, ...], Factor], PackedBlock] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def region(self, begin: np.ndarray, end: np.ndarray, factor: Factor) -> np.ndarray:
        """(z, y, x) uint64 from `begin` to `end`, both in voxels that are `factor` times as large: their first ones."""
        found = np.empty(tuple(int(size) for size in end - begin), np.uint64)
        spans = [range(int(low) // BLOCK_VX, -(-int(high) // BLOCK_VX)) for low, high in zip(begin, end, strict=True)]
        for place in itertools.product(*spans):
            block = self._block(place, factor)
            corner = np.array(place) * BLOCK_VX
            low = np.maximum(begin, corner)
            high = np.minimum(end, corner + block.places.shape)
            inside = tuple(slice(*pair) for pair in zip(low - corner, high - corner, strict=True))
            into = tuple(slice(*pair) for pair in zip(low - begin, high - begin, strict=True))
            found[into] = block.fragments[block.places[inside]]
        return found

    def forget(self) -> None:
        """Read again what is asked for from now on."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _block(self, place: tuple[int, ...], factor: Factor) -> PackedBlock:
        key = (place, factor)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        sizes = zip(place, factor, self._shape, strict=True)
        spans = [(at * BLOCK_VX * by, min((at + 1) * BLOCK_VX * by, size)) for at, by, size in sizes]
        whole = self._load(tuple(slice(*span) for span in spans))
        found = packed(np.ascontiguousarray(whole[tuple(slice(None, None, by) for by in factor)]))
        with self._lock:
            if key not in self._kept:  # another thread may have been as fast
                self._kept[key] = found
                self._bytes += found.nbytes
            while len(self._kept) > 1 and self._bytes > KEPT_BYTES:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found


def packed(fragments: np.ndarray) -> PackedBlock:
    """The same numbers, (z, y, x) uint64, in less memory."""
    known = distinct(fragments)
    kind = np.min_scalar_type(len(known))
    places = relabel(fragments, known, np.arange(1, len(known) + 1, dtype=np.uint64)).astype(kind)
    return PackedBlock(np.concatenate([np.zeros(1, np.uint64), known]), places)
