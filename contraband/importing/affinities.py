"""Affinities that look ahead become affinities that look back: the same numbers at the other voxel of each pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from blockwise.stages.affinity import NEAREST
from contraband.importing.options import ImportOptions


def offsets_of(
    path: Path, options: ImportOptions, attributes: dict[str, Any], channels: tuple[int, ...] | None
) -> tuple[Voxels, ...] | None:
    """The affinity offsets of the chosen channels, as they are given; None for what are no affinities.

    channels: their numbers in the file; None if the array has none. Raises BadInput if they do not fit.
    """
    count = 3 if options.boundaries else len(channels) if channels else None
    said = None if options.labels or channels is None else attributes.get("offsets")
    where = "--offsets" if options.offsets is not None else f"{path}: attribute offsets"
    offsets: Any = options.offsets
    if offsets is None:
        offsets = [said[number] for number in channels or ()] if said and _fits(said, channels) else said
    if offsets is None and (options.boundaries or (options.quantise and count == 3)):
        offsets = NEAREST
    if offsets is None and options.quantise:
        raise BadInput(path, f"{count} affinity channels without offsets", todo="give --offsets")
    if offsets is None:
        return None
    if not isinstance(offsets, Sequence) or not all(_is_offset(offset) for offset in offsets):
        raise BadInput(where, "is not one offset z,y,x per channel", got=offsets, todo="give --offsets")
    if len(offsets) != count:
        raise BadInput(where, "not one per channel", got=len(offsets), wanted=count or "none")
    return tuple(as_voxels(int(step) for step in offset) for offset in offsets)


def looking_back(offsets: tuple[Voxels, ...]) -> tuple[tuple[Voxels, ...], tuple[Voxels, ...]]:
    """(offsets as they are stored, by how many voxels each channel is moved).

    The affinity with offset +d at v is that of the same pair of voxels with -d at v + d, so its channel moves by d.
    Offsets that look back already, or partly ahead and partly back, stay.
    """
    ahead = [min(offset) >= 0 and max(offset) > 0 for offset in offsets]
    turned = tuple(
        as_voxels(-step for step in offset) if is_ahead else offset
        for offset, is_ahead in zip(offsets, ahead, strict=True)
    )
    moves = tuple(offset if is_ahead else as_voxels((0, 0, 0)) for offset, is_ahead in zip(offsets, ahead, strict=True))
    return turned, moves


def moved(data: np.ndarray, moves: Sequence[Voxels], reach: Voxels, missing: Voxels) -> np.ndarray:
    """(channel, z, y, x) of a part, each channel moved by its `moves`.

    data: the part and, before it, `reach` voxels along each axis, of which `missing` lie before the volume and are not
    there. Voxels whose partner lies before the volume get 0: no stage looks at them.
    """
    whole = np.pad(data, [(0, 0), *((count, 0) for count in missing)])
    shape = [size - more for size, more in zip(whole.shape[1:], reach, strict=True)]
    result: np.ndarray = np.empty((len(whole), *shape), data.dtype)
    for number, move in enumerate(moves):
        begins = [more - step for more, step in zip(reach, move, strict=True)]
        region = tuple(slice(begin, begin + size) for begin, size in zip(begins, shape, strict=True))
        result[number] = whole[number][region]
    return result


def remarks_on(offsets: tuple[Voxels, ...] | None) -> tuple[str, ...]:
    """What to say about offsets: those that were turned, and those that no run will take."""
    if offsets is None:
        return ()
    turned = sum(min(offset) >= 0 and max(offset) > 0 for offset in offsets)
    notes = [f"{turned} of {len(offsets)} offsets looked ahead: stored as looking back"] if turned else []
    mixed = [list(offset) for offset in offsets if min(offset) < 0 < max(offset)]
    if mixed:
        notes.append(f"offset {mixed[0]} looks ahead on one axis and back on another: a run will refuse it")
    return tuple(notes)


def _fits(said: Any, channels: Sequence[int] | None) -> bool:
    return isinstance(said, Sequence) and channels is not None and max(channels) < len(said)


def _is_offset(offset: Any) -> bool:
    if not isinstance(offset, Sequence) or len(offset) != 3:
        return False
    return all(isinstance(step, int | float) and float(step).is_integer() for step in offset)
