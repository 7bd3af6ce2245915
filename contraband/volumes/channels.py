"""Which channels of raw are shown to what predicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from contraband.volumes.settings import Source


def chosen_channels(volume: Source, wanted: int | None) -> tuple[int, ...]:
    """The channels that are shown, none where raw has no channel axis; raises BadInput if they are not `wanted` many.

    wanted: None where any number will do.
    """
    raw: Path = volume.raw  # type: ignore[assignment]
    count = info(Volume(path=raw)).channels
    chosen = channels_among(count, volume.channels, raw)
    if wanted is not None and len(chosen) != wanted:
        todo = "choose as many by volume.channels" if (count or 1) >= wanted else "train on as many, or import more"
        got = f"{len(chosen)} of raw" if count else "raw without a channel axis"
        raise BadInput("volume.channels", "are not as many as the network sees", got=got, wanted=wanted, todo=todo)
    return chosen if count is not None else ()


def channels_among(count: int | None, wanted: Sequence[int] | None, raw: object) -> tuple[int, ...]:
    """Those of raw that are wanted, or all; raises BadInput for one that is not there. count: None without an axis."""
    chosen = tuple(wanted or range(count or 1))
    if max(chosen) >= (count or 1):
        there = "no channel axis" if count is None else f"channels 0 to {count - 1}"
        raise BadInput("volume.channels", f"{raw} has {there}", got=list(chosen), wanted=f"below {count or 1}")
    return chosen


def shown_channels(shape: Sequence[int], wanted: Sequence[int] | None) -> tuple[int, ...]:
    """The same for raw of this shape, as ([channel,] z, y, x): none where it has no channel axis."""
    count = shape[0] if len(shape) == 4 else None
    chosen = channels_among(count, wanted, "raw")
    return () if count is None else chosen


def shown(raw: np.ndarray, channels: Sequence[int], is_mean: bool = False) -> np.ndarray:
    """Those channels of raw ([C,] z, y, x); one alone, or the mean where that is wanted, has no channel axis."""
    if raw.ndim == 3:
        return raw
    chosen = raw[list(channels)] if channels else raw
    if len(chosen) == 1:
        one: np.ndarray = chosen[0]
        return one
    if not is_mean:
        return chosen
    total = chosen[0].astype(np.float32)
    for channel in chosen[1:]:  # in this order, wherever a block begins
        total += channel
    mean: np.ndarray = total / np.float32(len(chosen))
    return mean
