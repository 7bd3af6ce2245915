"""The image of a labelling session: its features, computed where they are looked at and kept while there is room."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.models.normalise import Levels, Percentiles
from contraband.quick.features import Both, Features, features_of
from contraband.quick.file import Recipe
from contraband.volumes.brightness import array_levels, volume_levels
from contraband.volumes.channels import shown
from contraband.volumes.reflection import read_reflected, reflected
from contraband.volumes.tiles import covering

TILES: dict[int, Voxels] = {2: (1, 256, 256), 3: (32, 128, 128)}
"""Voxels whose features are computed at once."""
KEPT_BYTES = 2 << 30
"""Of features."""


class FeatureImage:
    """An image and its features: every voxel has those that a run will compute for it."""

    def __init__(self, raw: Volume | NDArray[Any], recipe: Recipe, channels: tuple[int, ...] = ()) -> None:
        """raw: ([channel,] z, y, x), on disk or in memory. Raises BadInput if it is no image.

        channels: those that are shown, as many as the recipe has; none where raw has no channel axis.
        """
        self._raw = raw
        self.recipe = recipe
        self.channels = channels
        shape, kind = (raw.shape, raw.dtype) if isinstance(raw, np.ndarray) else (info(raw).shape, info(raw).dtype)
        if len(shape) != (4 if channels else 3) or kind.kind not in "buif" or not all(shape):
            where = "raw" if isinstance(raw, np.ndarray) else raw.path
            wanted = "([channel,] z, y, x) numbers"
            raise BadInput(where, "is no image", got=f"{tuple(shape)} {kind}", wanted=wanted)
        self.shape: Voxels = as_voxels(shape[-3:])
        self._levels = self.measured(recipe.percentiles)
        self._features = features_of(recipe)
        self.count = self._features.count
        """Features of a voxel."""
        self._tile = as_voxels(min(one, size) for one, size in zip(TILES[recipe.dims], self.shape, strict=True))
        self._kept: OrderedDict[Voxels, NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()
        self.threads = len(os.sched_getaffinity(0))
        self.stored: Callable[[Roi], NDArray[np.float32]] | None = None
        """Gives embeddings (F, z, y, x) of a region that need not be computed, for what is shown; heads learn from
        computed ones, so that they are the same heads."""

    def features_at(self, voxel: Voxels) -> NDArray[np.float32]:
        """(F,) of one voxel."""
        one: NDArray[np.float32] = self._compute(Roi(voxel, (1, 1, 1))).reshape(-1)
        return one

    def features(self, box: Roi) -> NDArray[np.float32]:
        """(F, z, y, x) of a small region inside of the image, which is not kept."""
        return self._compute(box)

    def raw(self, hull: Roi, levels: Levels | None) -> NDArray[Any]:
        """([channel,] z, y, x) of a region, mirrored beyond the image; stretched, if there are levels."""
        if isinstance(self._raw, np.ndarray):
            raw = self._raw[(..., *np.ix_(*reflected(hull, self.shape)))]
        else:
            raw = read_reflected(self._raw, hull, self.shape)
        raw = shown(raw, self.channels)
        return raw if levels is None else levels.apply(raw, reflected(hull, self.shape)[0])

    def measured(self, percentiles: Percentiles | None) -> Levels | None:
        """What becomes 0 and 1 if raw is stretched so; reads all of it once, as a run will."""
        if percentiles is None:
            return None
        if isinstance(self._raw, np.ndarray):
            return array_levels(shown(self._raw, self.channels), percentiles)
        return volume_levels(self._raw, percentiles, self.channels)

    def tiles(self, box: Roi) -> list[Roi]:
        """The tiles that a region touches, cut off at its edges, those nearest to its middle first."""
        step = Coordinate(self._tile)
        begin, end = box.begin // step, -(-box.end // step)
        middle = np.array(box.center)
        every = [Roi((begin + Coordinate(at)) * step, step).intersect(box) for at in np.ndindex(*(end - begin))]
        return sorted(every, key=lambda tile: float(np.abs(np.array(tile.center) - middle).sum()))

    def over_tiles(self, box: Roi, use: Any) -> Iterator[tuple[Roi, Any]]:
        """Each tile of a region with what `use(features)` makes of its features (F, z, y, x); several at once."""
        with ThreadPoolExecutor(self.threads) as pool:
            tiles = self.tiles(box)
            yield from zip(tiles, pool.map(lambda tile: use(self._of_tile(tile)), tiles), strict=True)

    def _of_tile(self, piece: Roi) -> NDArray[np.float32]:
        """The features of a piece of a tile; the whole tile is kept."""
        step = Coordinate(self._tile)
        begin = piece.begin // step * step
        key = as_voxels(begin)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None:
            found = self._shown(Roi(begin, step).intersect(Roi((0, 0, 0), self.shape)))
            with self._lock:
                self._kept[key] = found
                while sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
                    self._kept.popitem(last=False)
        return found[(slice(None), *(piece - begin).to_slices())]

    def _shown(self, box: Roi) -> NDArray[np.float32]:
        """(F, z, y, x) of a region that is looked at."""
        if self.stored is None:
            return self._compute(box)
        embeddings = self.stored(box)
        if not isinstance(self._features, Both):
            return embeddings
        return np.concatenate([self._within(self._features.first, box), embeddings])

    def _compute(self, box: Roi) -> NDArray[np.float32]:
        return self._within(self._features, box)

    def _within(self, features: Features, box: Roi) -> NDArray[np.float32]:
        around = Coordinate(features.halo)
        whole = covering(box, features.stride)
        found = features.within(self.raw(whole.grow(around, around), self._levels))
        return found[(slice(None), *(box - whole.begin).to_slices())]
