"""Which program computes a checkpoint on this processor: measured on one tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput, one_line
from blockwise.grid import Voxels
from blockwise.settings import Settings

ALIKE = 1e-3
"""By how much values of a tile may differ from torch's: a quarter of a step of what is stored."""
TIMES = 2
"""A tile is computed so often by each, after once that prepares the network; the fastest counts."""


class StoredChoice(Settings):
    """What was left open for a prediction and is chosen, and why; kept with it, so that all of it is made alike."""

    why: str
    measured: str
    """What it holds for: a network, and its tile or blocks."""

    @classmethod
    def kept(cls, stored: object, measured: str, where: str) -> Self | None:
        """The one that is stored, if it holds for just this."""
        if not isinstance(stored, Mapping) or stored.get("measured") != measured:
            return None
        return cls.parse(stored, where)


class EngineChoice(StoredChoice):
    """What computes a checkpoint."""

    engine: str
    """torch or openvino."""


@lru_cache(maxsize=4)
def measure(checkpoint: Path, kind: str, levels: int, precision: str, tile: Voxels) -> tuple[str, str]:
    """The faster of torch and OpenVINO on a tile of noise, and why; torch if the values differ.

    precision: that of torch; it is in float32 that values are compared.
    """
    from contraband.models.predictor import load_predictor

    exact = load_predictor(checkpoint, kind, "cpu", "float32", levels)
    plain = exact if precision == "float32" else load_predictor(checkpoint, kind, "cpu", precision, levels)
    other = load_predictor(checkpoint, kind, "cpu", "float32", levels, "openvino")
    shape = [size + 2 * lost for size, lost in zip(tile, exact.context, strict=True)]
    channels = [exact.in_channels] if exact.in_channels > 1 else []
    raw = np.random.default_rng(0).random([*channels, *shape], np.float32)
    raw /= np.float32(exact.norm_factor)
    try:
        apart = float(np.abs(exact(raw) - other(raw)).max())
    except BadInput as error:
        return "torch", one_line(str(error))
    if not apart <= ALIKE:
        return "torch", f"OpenVINO's values differ by {apart:.2g}, more than {ALIKE:g}"
    slow, fast = _seconds(plain, raw), _seconds(other, raw)
    engine = "openvino" if fast < slow else "torch"
    return engine, f"a tile takes {fast:.3g} s in OpenVINO and {slow:.3g} s in torch, values differ by {apart:.2g}"


def _seconds(predictor: Callable[[NDArray[Any]], NDArray[np.float32]], raw: NDArray[np.float32]) -> float:
    """Of the fastest of some tiles; the first, which may prepare something, does not count."""
    taken = []
    for _ in range(1 + TIMES):
        began = time.perf_counter()
        predictor(raw)
        taken.append(time.perf_counter() - began)
    return min(taken[1:])
