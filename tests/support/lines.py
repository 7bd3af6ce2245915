"""A line of two toy stages, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockwise.arrays.volume import Volume, open_array
from blockwise.engine.options import StageResult
from blockwise.stage import Stage
from tests.support.toys import Count, Smear

BLOCKS = 2 * 3 * 3
"""Of each stage."""


def smear(source: Volume, **changes: Any) -> Smear:
    """The stage of most tests here; it writes beside its source."""
    target = source.path.parent.parent / "out.zarr" / "smeared"
    return Smear(**{"source": source, "target": Volume(path=target), **changes})


def line(source: Volume, **changes: Any) -> list[Stage]:
    """Two stages, the second reads what the first writes."""
    first = smear(source, **changes)
    return [first, Count(source=first.target, shape=(8, 9, 10), limit=20)]


def voxels(volume: Volume) -> np.ndarray:
    """The whole array."""
    return np.asarray(open_array(volume)[:])


def expected(source: Volume, factor: int = 1) -> np.ndarray:
    """What `Smear` makes of the whole volume at once."""
    data = voxels(source).astype(np.uint32) * factor
    data[..., :-1] += data[..., 1:]
    return data


def one(results: Sequence[StageResult]) -> StageResult:
    """The only result."""
    (result,) = results
    return result


def key_of(stage: Stage, place: int) -> int:
    """The key of the n-th block."""
    return int(stage.grid().keys().ravel()[place])
