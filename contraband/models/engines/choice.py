"""Which program computes a checkpoint on this processor: measured on one tile."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.arrays.kept import StoredFact
from blockwise.errors import BadInput, one_line
from blockwise.grid import Voxels, as_voxels

ALIKE = 1e-3
"""By how much values of a tile in float32 may differ from torch's: a quarter of a step of what is stored."""
ALIKE_IN_MEAN = 0.02
"""By how much those in bfloat16 may in the mean; torch's differ as well."""
MOST_VOXELS = 64**3
"""Of the tile that is computed to measure; a larger one would tell the same, and take as long as much of a volume."""
TIMES = 2
"""A tile is computed so often by each, after once that prepares the network; the fastest counts."""


class StoredChoice(StoredFact):
    """What was left open for a prediction and is chosen, and why; kept with it, so that all of it is made alike.

    It holds for a network, and its tile or blocks.
    """

    why: str


class EngineChoice(StoredChoice):
    """What computes a checkpoint."""

    engine: str
    """torch or openvino."""
    precision: str = ""
    """What OpenVINO computes in; nothing where torch does, and where it was not noted, which was float32."""


@lru_cache(maxsize=4)
def measure(checkpoint: Path, kind: str, levels: int, precision: str, tile: Voxels) -> tuple[str, str, str]:
    """The fastest of torch and OpenVINO on noise, what it computes in, and why; torch if values differ.

    tile: what is predicted in one pass; a part of it is computed where it is large.
    precision: auto, float32 or bfloat16, of both; what OpenVINO may compute in with auto is told by the processor.
    """
    from contraband.models.predictor import load_predictor

    exact = load_predictor(checkpoint, kind, "cpu", "float32", levels)
    tile = exact.fit_output(trimmed(tile))
    shape = [size + 2 * lost for size, lost in zip(tile, exact.context, strict=True)]
    channels = [exact.in_channels] if exact.in_channels > 1 else []
    raw = np.random.default_rng(0).random([*channels, *shape], np.float32)
    raw /= np.float32(exact.norm_factor)
    values = exact(raw)
    plain = exact if precision == "float32" else load_predictor(checkpoint, kind, "cpu", precision, levels)
    best, engine, chosen = _seconds(plain, raw), "torch", ""
    said = [f"a tile takes {best:.3g} s in torch"]
    for one in _precisions(precision):
        other = load_predictor(checkpoint, kind, "cpu", one, levels, "openvino")
        try:
            apart = np.abs(values - other(raw))
        except BadInput as error:
            return "torch", "", one_line(str(error))
        if not (apart.max() <= ALIKE if one == "float32" else apart.mean() <= ALIKE_IN_MEAN):
            said.append(f"values of OpenVINO in {one} differ by {apart.max():.2g}, in the mean by {apart.mean():.2g}")
            continue
        taken = _seconds(other, raw)
        said.append(f"{taken:.3g} s in OpenVINO and {one}, where values differ by {apart.max():.2g}")
        if taken < best:
            best, engine, chosen = taken, "openvino", one
    return engine, chosen, "; ".join(said)


def trimmed(tile: Voxels) -> Voxels:
    """A tile to measure on: the same, its longest axes halved until few enough voxels are left."""
    sizes = list(tile)
    while np.prod(sizes) > MOST_VOXELS:
        sizes[int(np.argmax(sizes))] //= 2
    return as_voxels(sizes)


def _precisions(wanted: str) -> list[str]:
    """What OpenVINO may compute in here."""
    from contraband.models.engines.openvino import computes_in

    named = ["float32", "bfloat16"] if wanted == "auto" else [wanted]
    return [one for one in named if computes_in(one)]


def _seconds(predictor: Callable[[NDArray[Any]], NDArray[np.float32]], raw: NDArray[np.float32]) -> float:
    """Of the fastest of some tiles; the first, which may prepare something, does not count."""
    taken = []
    for _ in range(1 + TIMES):
        began = time.perf_counter()
        predictor(raw)
        taken.append(time.perf_counter() - began)
    return min(taken[1:])
