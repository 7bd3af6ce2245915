"""Which tile predicts a volume with the least work, and the blocks that go with it: chosen once, then kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from blockwise.grid import Grid, Voxels, as_voxels
from contraband.models.engines.choice import StoredChoice
from contraband.volumes.tiles import work_per_voxel

MOST_BLOCKS = 8
"""Blocks of the volume that one of the prediction takes together, along an axis."""
PIECES = (1, 2, 4, 8)
"""Tiles of a block along an axis, where it does not fit as a whole."""
GOOD_ENOUGH = 1.05
"""The smallest tile whose work is within this of the least is taken: larger ones would cost memory only."""
BLOCKS_A_WORKER = 4
"""Of the prediction at least, so that no worker waits long for the last one; where there is one, it waits for none."""


class TileChoice(StoredChoice):
    """The tile of a prediction."""

    tile: Voxels
    block: Voxels
    """The blocks of the prediction: whole blocks of the volume."""


def choose_tile(
    grid: Grid,
    fit: Callable[[Sequence[int]], Voxels],
    needed: Callable[[Voxels], int],
    memory: int,
    workers: int,
) -> tuple[Voxels, Voxels, str]:
    """Tile, blocks of the prediction, and why.

    grid: of the blocks of the volume, with the context of the network. fit: the tile that is most like a shape. needed:
    bytes that the network takes for a tile, of which there may be `memory`. workers: that are to have enough blocks.
    """
    least = min(grid.count, BLOCKS_A_WORKER * workers) if workers > 1 else 1
    found: list[tuple[float, Voxels, Voxels]] = []
    for block, tile in _candidates(grid, fit):
        if Grid(grid.stage, grid.volume, block).count >= least:
            found.append((_work(grid, block, tile), tile, block))
    found.sort(key=lambda one: (one[0], np.prod(one[1])))
    fitting = next((one for one in found if needed(one[1]) <= memory), None)
    if fitting is None:
        fitting = min(found, key=lambda one: np.prod(one[1]))
    enough = [one for one in found if one[0] <= fitting[0] * GOOD_ENOUGH and np.prod(one[1]) <= np.prod(fitting[1])]
    work, tile, block = min(enough, key=lambda one: (np.prod(one[1]), one[0]))
    why = (
        f"{work:.2f} voxels are shown to the network for each one written, for about {needed(tile) / 1e6:,.0f} of the "
        f"{memory / 1e6:,.0f} MB that it may take"
    )
    return tile, block, why


def _candidates(grid: Grid, fit: Callable[[Sequence[int]], Voxels]) -> Iterator[tuple[Voxels, Voxels]]:
    """Blocks of the prediction and a tile: some blocks of the volume at once, or a piece of one."""
    axes = [range(1, min(MOST_BLOCKS, count) + 1) for count in grid.counts]
    for times in product(*axes):
        block = as_voxels(
            min(step * count, size) for step, count, size in zip(grid.block, times, grid.volume, strict=True)
        )
        yield block, fit(block)
        yield block, _covering(fit, block)
    for pieces in product(PIECES, repeat=3):
        if pieces != (1, 1, 1):
            yield grid.block, fit([max(1, step // count) for step, count in zip(grid.block, pieces, strict=True)])


def _covering(fit: Callable[[Sequence[int]], Voxels], block: Voxels) -> Voxels:
    """The smallest tile that holds a block: one that is a voxel short of it would leave a second for the last voxel."""
    wanted = block
    while any(tile < size for tile, size in zip(fit(wanted), block, strict=True)):
        wanted = as_voxels(one + (tile < size) for one, tile, size in zip(wanted, fit(wanted), block, strict=True))
    return fit(wanted)


def _work(grid: Grid, block: Voxels, tile: Voxels) -> float:
    """Voxels shown to the network for each one written."""
    context = grid.context_low
    return work_per_voxel(Grid(grid.stage, grid.volume, block, context, context), tile, context)["shown_per_voxel"]
