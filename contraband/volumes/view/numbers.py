"""Segments at a threshold that can be moved: fragments are renamed as they are looked at, and nothing is written."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress

import numpy as np

from blockwise.arrays.lazy import LazyVolume
from blockwise.errors import BadInput, BlockwiseError
from blockwise.kernels.graph.climbing import Ancestry
from blockwise.kernels.tables import distinct, relabel
from blockwise.stages.agglomerate.stage import read_ancestry_of
from contraband.volumes.result import Result
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.kept import KeptFragments
from contraband.volumes.view.pieces import Factor


def open_live(settings: VolumeSettings) -> LiveNumbers | None:
    """The segments of a run at its best threshold, else at the first that is written; None before `agglomerate`."""
    if not settings.output.is_dir():
        return None
    try:
        result = Result(settings)
        fragments = result.fragments
        ways = read_ancestry_of(result.tree)
    except BlockwiseError:
        return None
    threshold = settings.segment.thresholds[0]
    with suppress(BlockwiseError):  # not evaluated
        threshold = float(result.evaluation["best"]["threshold"])
    return LiveNumbers(fragments, ways, threshold, result.stop)


class LiveNumbers:
    """The segments of a run at one threshold, and of single objects at higher ones.

    Safe to use from several threads: each piece is of one state.
    """

    dtype = np.dtype(np.uint64)
    coarsest = 64

    def __init__(self, fragments: LazyVolume, ways: Ancestry, threshold: float, stop: float) -> None:
        """fragments: with their final numbers. stop: below it there are no merges, so no threshold."""
        self.shape = fragments.shape
        self.stop = stop
        self._fragments = fragments
        self._ways = ways
        self._threshold = threshold
        self._finer: Mapping[int, float] = {}
        self._kept = KeptFragments(self.fragments, self.shape)
        self._lock = threading.Lock()

    @property
    def threshold(self) -> float:
        """Fragments whose merge scores above it are one segment."""
        return self._threshold

    @property
    def finer(self) -> Mapping[int, float]:
        """The objects that are cut at a threshold of their own, and where."""
        return self._finer

    def set_threshold(self, threshold: float) -> None:
        """Cut everything there, also what was cut finer; raises BadInput if that cannot be had."""
        self._check(threshold, self.stop)
        with self._lock:
            self._threshold = float(threshold)
            self._finer = {}

    def cut_finer(self, segment: int, threshold: float) -> None:
        """Cut one object at a higher threshold than the others, or at theirs to undo that; raises BadInput."""
        self._check(threshold, self._threshold)
        with self._lock:
            finer = {**self._finer, int(segment): float(threshold)}
            self._finer = {one: at for one, at in finer.items() if at > self._threshold}

    def follow(self, ways: Ancestry) -> None:
        """Cut from another dendrogram of the same fragments from now on."""
        with self._lock:
            self._ways = ways

    def numbers(self, fragments: np.ndarray) -> np.ndarray:
        """The segment of each of these fragments now, (n,) uint64; 0 stays 0."""
        with self._lock:
            ways, threshold, finer = self._ways, self._threshold, self._finer
        found = ways.segments_of(fragments, threshold)
        coarse = found.copy()
        for segment, higher in finer.items():
            mine = coarse == np.uint64(segment)
            found[mine] = ways.segments_of(np.asarray(fragments)[mine], higher)
        return found

    def renumbered(self, segments: Iterable[int]) -> list[int]:
        """What objects are called now that were called so at another threshold, each once."""
        now = self.numbers(np.fromiter(segments, np.uint64))
        return list(dict.fromkeys(int(number) for number in now))

    def fragments(self, region: tuple[slice, ...]) -> np.ndarray:
        """(z, y, x) uint64: fragments under their final numbers, as stored."""
        return self._fragments[region]

    def piece(self, begin: np.ndarray, end: np.ndarray, factor: Factor) -> np.ndarray:
        """The segments from `begin` to `end`, both counted in voxels that are `factor` times as large."""
        ids = self._kept.region(begin, end, factor)
        known = distinct(ids)
        return relabel(ids, known, self.numbers(known))

    def forget(self) -> None:
        """Read fragments again from now on."""
        self._kept.forget()

    def _check(self, threshold: float, least: float) -> None:
        if not least <= threshold <= 1:
            raise BadInput("threshold", "is not available", got=threshold, wanted=f"{least:g} to 1")
