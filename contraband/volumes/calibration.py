"""What 8-bit integers have to hold: between which values a network's convolutions take their inputs in a volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from blockwise.arrays.kept import keep
from blockwise.arrays.volume import Volume, info, is_there
from blockwise.grid import Grid, Voxels
from blockwise.settings import Settings
from contraband.models.engines.choice import trimmed
from contraband.models.engines.quantised import InputRanges
from contraband.volumes.tiles import Mask

if TYPE_CHECKING:
    from contraband.models.predictor import Predictor

KEY = "int8"
"""The attribute of what is predicted, and the key of report.json."""
LISTED = 4096
"""Tiles, all over the volume, of which those near the mask are looked for."""
CANDIDATES = 64
"""Of these, of which the brightness is looked at."""
MEASURED = 8
"""Of these, from the darkest to the brightest, tell the ranges."""
HELD_BACK = 2
"""Others tell how far values in integers are from those in float32."""


class Calibration(Settings):
    """The ranges that a prediction is computed with, kept with it."""

    ranges: InputRanges
    mean_difference: float
    """Between values in integers and in float32, of 1, on tiles that did not tell the ranges if there are any."""
    largest_difference: float


RawGiver = Callable[[Roi], NDArray[Any]]
"""Gives raw as the network sees it, of a region that may reach outside of the volume."""


def keep_calibration(
    target: Volume, is_begun: bool, load: Callable[[], Any], tile: Voxels, wanted: Mask | None, shown: RawGiver
) -> None:
    """Store ranges with what is predicted; those that are there stay if blocks are finished, which are of these.

    load: gives the network, a `Predictor` in float32. tile: that is predicted.
    """
    if not (is_begun and calibrated_ranges(target)):
        predictor = load()
        shape = predictor.fit_output(trimmed(tile))
        tiles = _tiles(Grid("", info(target).spatial, shape))
        near = wanted.near_tiles(tiles) if wanted else tiles
        found = calibrate(predictor, near or tiles, shown)
        keep(target, KEY, found.model_dump(mode="json"))


def calibrated_ranges(target: Volume) -> InputRanges:
    """The ranges that are stored with what is predicted; nothing before there are any."""
    stored = info(target).attributes.get(KEY) if is_there(target.path) else None
    return Calibration.parse(stored, KEY).ranges if stored else ()


def calibrate(predictor: Predictor, tiles: Sequence[Roi], shown: RawGiver) -> Calibration:
    """The ranges on some of the tiles, of which there are one or more, all of one shape."""
    around = Coordinate(predictor.context)

    def raw(tile: Roi) -> NDArray[Any]:
        return shown(tile.grow(around, around))

    by_brightness = sorted(_spread(tiles, CANDIDATES), key=lambda tile: float(shown(tile).mean()))
    chosen = _spread(by_brightness, MEASURED)
    others = _spread([tile for tile in by_brightness if tile not in chosen], HELD_BACK) or chosen[:HELD_BACK]
    ranges = predictor.ranges(map(raw, chosen))
    exact = [predictor(raw(tile)) for tile in others]
    predictor.compute_in_openvino(predictor.networks, "int8", ranges)
    apart = [np.abs(values - predictor(raw(tile))) for values, tile in zip(exact, others, strict=True)]
    return Calibration(
        ranges=ranges,
        mean_difference=float(np.mean(apart)),
        largest_difference=float(np.max(apart)),
    )


def _tiles(grid: Grid) -> list[Roi]:
    """Tiles all over a volume: not all of them, which would be millions in a large one."""
    places = (np.unravel_index(at, grid.counts) for at in _spread(range(grid.count), LISTED))
    return [Roi([int(at) * step for at, step in zip(one, grid.block, strict=True)], grid.block) for one in places]


def _spread[One](many: Sequence[One], count: int) -> list[One]:
    """So many of them at most, evenly from the first to the last."""
    if not many:
        return []
    places = np.linspace(0, len(many) - 1, min(count, len(many))).round().astype(int)
    return [many[at] for at in places.tolist()]
