"""A network of a file tried on random tiles before it is used: its range, and how far around a voxel it looks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.models.foreign.predictor import ForeignPredictor

ALIKE = 1e-4
"""By how much values in [0, 1] may differ between tiles: less than a hundredth of a step of uint8 is rounding."""


def try_network(predictor: ForeignPredictor, tile: Voxels) -> str:
    """What was measured, in a line. Raises BadInput if the network's values depend on the tile, or leave their range.

    tile: voxels that are predicted in one pass.
    """
    given = predictor.context
    inner = as_voxels(c - m for c, m in zip(given, predictor.margin, strict=True))
    shape = [min(n, 4 * s) + 2 * c for n, s, c in zip(tile, predictor.stride, inner, strict=True)]
    raw = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    if predictor.percentiles is not None:
        raw /= 255
    values = predictor.channels_of(raw)
    _check_values(predictor, values)
    needed = as_voxels(_needed(predictor, raw, axis) for axis in range(3))
    if any(need > have for need, have in zip(needed, inner, strict=True)):
        whole = any(2 * need >= n for need, n in zip(needed, shape, strict=True))
        todo = "does it normalise over the tile (instance or batch normalisation)?" if whole else "raise model.context"
        raise BadInput(
            "model.context",
            "is too small: values depend on the tile that a voxel lies in",
            got=list(inner),
            wanted=f"at least {list(needed)}",
            todo=todo,
        )
    low, high = float(values.min()), float(values.max())
    return f"looks {list(needed)} voxels around (context {list(inner)}), values from {low:.3g} to {high:.3g} for noise"


def _check_values(predictor: ForeignPredictor, values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        raise BadInput("model.network", "gives values that are no numbers", todo="check model.input.normalise")
    low, high = float(values.min()), float(values.max())
    if predictor.kind == "affinities" and (low < -ALIKE or high > 1 + ALIKE):
        raise BadInput(
            "model.network",
            "gives no probabilities",
            got=f"{low:.3g} to {high:.3g}",
            wanted="0 to 1",
            todo="export it with its last sigmoid or softmax, or use output: embeddings",
        )


def _needed(predictor: ForeignPredictor, raw: NDArray[np.float32], axis: int) -> int:
    """How many voxels from the end of raw along an axis values still depend on where it ends.

    Raw is made longer on both sides, by voxels that were not there. What the network takes off itself counts.
    """
    rng = np.random.default_rng(1 + axis)
    more = 2 * predictor.stride[axis]
    shape = list(raw.shape)
    shape[axis] = more
    sides = [rng.permutation(np.resize(raw, shape).ravel()).reshape(shape) for _ in range(2)]
    longer = np.concatenate([sides[0], raw, sides[1]], axis)
    before, after = predictor.everything_of(raw), predictor.everything_of(longer)
    lost: int = (raw.shape[axis] - before.shape[axis + 1]) // 2
    same = after.take(range(more, more + before.shape[axis + 1]), axis + 1)
    others = tuple(other for other in range(4) if other != axis + 1)
    differs = np.flatnonzero(np.abs(before - same).max(axis=others) > ALIKE * max(1.0, float(np.abs(before).max())))
    if not len(differs):
        return lost
    size: int = before.shape[axis + 1]
    return lost + int(np.minimum(differs, size - 1 - differs).max()) + 1
