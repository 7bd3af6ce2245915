"""Tiles: what is predicted at once. All have one shape and are anchored at the first voxel of the volume.

A voxel is computed from the same numbers in the same order whatever the blocks are, and whether its tile is predicted
at all depends on the tile alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from funlib.geometry import Coordinate, Roi

from blockwise.arrays.placement import Placement, read_placed
from blockwise.arrays.values import inside_mask
from blockwise.arrays.volume import Volume, as_shard, info
from blockwise.errors import BadInput
from blockwise.grid import Grid, Voxels, as_voxels
from contraband.models.averaging.base import Beginning, Predicting
from contraband.volumes.brightness import array_levels
from contraband.volumes.reflection import reflected
from contraband.volumes.settings import Blocks

MOST_COUNTED = 2_000_000_000
"""Voxels of a mask that are read to count tiles before the first block; of larger ones nobody would wait for it."""


def covering(roi: Roi, tile: Voxels) -> Roi:
    """The smallest region of whole tiles around `roi`."""
    shape = Coordinate(tile)
    begin = roi.begin // shape * shape
    return Roi(begin, (-(-roi.end // shape)) * shape - begin)


def tiles(roi: Roi, tile: Voxels) -> Iterator[Roi]:
    """The tiles of the volume that touch `roi`; they may reach outside of it and of the volume."""
    shape, whole = Coordinate(tile), covering(roi, tile)
    for index in np.ndindex(*(whole.shape // shape)):
        yield Roi(whole.begin + Coordinate(index) * shape, shape)


def work_per_voxel(grid: Grid, tile: Voxels, context: Voxels) -> dict[str, float]:
    """Voxels for each voxel that is written: predicted, shown to the network, and read, without a mask.

    A tile that blocks share is predicted for each of them; a network is shown the context of each tile, and a block
    reads that around all of its tiles, as far as the volume goes.
    """
    predicted = shown = read = 1.0
    for size, block, step, lost in zip(grid.volume, grid.block, tile, context, strict=True):
        begins = np.arange(0, size, block)
        firsts = begins // step * step
        lasts = -(-np.minimum(begins + block, size) // step) * step
        covered = float((lasts - firsts).sum())
        predicted *= covered / size
        shown *= covered / size * (step + 2 * lost) / step
        read *= float((np.minimum(lasts + lost, size) - np.maximum(firsts - lost, 0)).sum()) / size
    return {"predicted_per_voxel": predicted, "shown_per_voxel": shown, "read_per_voxel": read}


@dataclass(frozen=True)
class Mask:
    """Where voxels are wanted: in tiles that have a voxel of the mask in them or near them."""

    volume: Volume
    placed: Placement | None
    """Where the mask lies; None: exactly on the volume."""
    shape: Voxels
    """Of the volume that is predicted."""
    near: Voxels
    """How far a voxel of the mask may lie from a tile along z, y, x. What reads affinities within the mask looks
    around, and must find there what it would find without a mask."""

    def near_tiles(self, wanted: Sequence[Roi]) -> list[Roi]:
        """Those of the tiles that are to be predicted; the mask is read once, where they lie."""
        if not wanted:
            return []
        near = Coordinate(self.near)
        volume = Roi((0, 0, 0), self.shape)
        looked_at = [tile.grow(near, near).intersect(volume) for tile in wanted]
        hull = looked_at[0]
        for region in looked_at[1:]:
            hull = hull.union(region)
        inside = inside_mask(read_placed(self.volume, self.placed, hull), self.volume.path)
        zipped = zip(wanted, looked_at, strict=True)
        return [tile for tile, region in zipped if inside[(region - hull.begin).to_slices()].any()]

    def count(self, grid: Grid, tile: Voxels) -> dict[str, int] | None:
        """How many tiles there are in `all`, and how many are `predicted`; None where counting would take long."""
        if np.prod(info(self.volume).spatial, dtype=np.int64) > MOST_COUNTED:
            return None
        predicted = 0
        for block in grid.blocks():
            begun = [one for one in tiles(block.write_roi, tile) if block.write_roi.contains(one.begin)]
            predicted += len(self.near_tiles(begun))
        whole = covering(Roi((0, 0, 0), self.shape), tile).shape // Coordinate(tile)
        return {"all": int(np.prod(whole)), "predicted": predicted}


@dataclass(frozen=True)
class Loaded:
    """The tiles of a region that are to be predicted, and raw of them with what is around them."""

    tiles: list[Roi]
    raw: np.ndarray | None
    """None if there is no tile."""
    origin: Coordinate
    """Of raw, in voxels of the volume."""

    def take(self, region: Roi) -> np.ndarray:
        """Raw of a region around one of the tiles."""
        assert self.raw is not None
        places = (region - self.origin).to_slices()
        taken: np.ndarray = self.raw[..., places[0], places[1], places[2]]
        return taken


def hull(chosen: Sequence[Roi], context: Voxels) -> Roi:
    """The region that holds all the tiles, at least one, and the context around them."""
    whole = chosen[0]
    for tile in chosen[1:]:
        whole = whole.union(tile)
    return whole.grow(Coordinate(context), Coordinate(context))


class Begun:
    """A region that is being predicted: its last tile may still be computed, by a GPU."""

    def __init__(self, predictor: Predicting, roi: Roi) -> None:
        self._predictor = predictor
        self._roi = roi
        self._stored = np.dtype(np.uint8 if predictor.kind == "affinities" else np.float16)
        self._result = np.zeros((predictor.channels, *roi.shape), self._stored)
        self._last: tuple[Roi, Callable[[], np.ndarray]] | None = None

    def add(self, tile: Roi, raw: np.ndarray) -> None:
        """Begin with a tile, then fill in the one before. raw: of the tile, with what the network needs around it."""
        begun = (tile, self._begin(raw))
        self.values()
        self._last = begun

    def values(self) -> np.ndarray:
        """(C, z, y, x) of the region as it is stored; waits for what is still computed. Any thread may ask."""
        if self._last is not None:
            tile, last = self._last
            self._last = None
            inside = tile.intersect(self._roi)
            piece = last()[(slice(None), *(inside - tile.begin).to_slices())]
            self._result[(slice(None), *(inside - self._roi.begin).to_slices())] = piece
        return self._result

    def _begin(self, raw: np.ndarray) -> Callable[[], np.ndarray]:
        if isinstance(self._predictor, Beginning):
            return self._predictor.begin(raw)
        values = self._predictor.quantised(raw) if self._stored == np.uint8 else self._predictor(raw)
        return lambda: values


def predict_tiles(
    predictor: Predicting,
    roi: Roi,
    chosen: Iterable[Roi],
    take: Callable[[Roi], np.ndarray],
    skip_constant: bool = False,
) -> Begun:
    """(C, z, y, x) of a region as it is stored: affinities as uint8, embeddings as float16; foreground comes last.

    chosen: tiles that touch the region; where there is none, and with `skip_constant` where all that the network would
    see of a tile is one value, the result is 0. take: gives raw of a region, which may reach outside of the volume: of
    each tile with what is around it.
    """
    begun = Begun(predictor, roi)
    around = Coordinate(predictor.context)
    for one in chosen:
        raw = take(one.grow(around, around))
        if not (skip_constant and raw.min() == raw.max()):
            begun.add(one, raw)
    return begun


def predict_array(predictor: Predicting, raw: np.ndarray, told: Callable[[int, int], None]) -> np.ndarray:
    """What a run with the usual blocks would store for a volume in memory, ([C,] z, y, x).

    told: gets how many tiles are done, and how many there are. Raises BadInput for an array that is no such volume.
    """
    count = predictor.in_channels
    wanted = "(z, y, x)" if count == 1 else f"({count}, z, y, x)"
    fits = raw.ndim == 3 if count == 1 else raw.ndim == 4 and len(raw) == count
    if not fits or not raw.size or raw.dtype.kind not in "buif":
        raise BadInput(
            "raw", "is no image", got=f"{raw.shape} {raw.dtype}", wanted=f"{wanted} numbers, as in image[None]"
        )
    shape = as_voxels(raw.shape[-3:])
    tile = predictor.fit_output(as_shard(Blocks().shape, shape))
    whole = Roi((0, 0, 0), shape)
    total = int(np.prod(covering(whole, tile).shape // Coordinate(tile)))
    levels = None if predictor.percentiles is None else array_levels(raw, predictor.percentiles)
    done = iter(range(total))

    def take(region: Roi) -> np.ndarray:
        told(next(done), total)
        z, y, x = reflected(region, shape)
        piece = raw[(..., *np.ix_(z, y, x))]
        return piece if levels is None else levels.apply(piece, z)

    result = predict_tiles(predictor, whole, tiles(whole, tile), take).values()
    told(total, total)
    return result
