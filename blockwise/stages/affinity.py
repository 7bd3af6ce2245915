"""What the stages know of an affinity volume: its channels, its range and what is refused."""

from __future__ import annotations

import numpy as np

from blockwise.arrays.info import Info
from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from blockwise.grid import Voxels

NEAREST: tuple[Voxels, ...] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def check_affinities(volume: Volume, per_section: bool | None) -> Info:
    """The description of an affinity volume; raises BadInput if it cannot be segmented exactly."""
    found = info(volume)
    if found.channels is None:
        raise BadInput(volume.path, "affinities need a channel axis", got=found.shape, wanted="(channel, z, y, x)")
    if found.dtype not in (np.dtype("uint8"), np.dtype("uint16")):
        raise BadInput(
            volume.path,
            "affinities must be stored as integers, since sums of floats depend on their order",
            got=found.dtype,
            wanted="uint8 or uint16",
            todo="import them with `contraband import --quantise`",
        )
    if not found.offsets:
        raise BadInput(
            volume.path,
            "has no attribute offsets",
            wanted=[list(offset) for offset in NEAREST],
            got=None,
            todo="import it with `contraband import --offsets`",
        )
    for offset in found.offsets:
        if max(offset) > 0 or min(offset) == 0:
            raise BadInput(
                volume.path,
                "an offset is not negative",
                got=list(offset),
                wanted="such as [-1, 0, 0]",
                todo="import it with `contraband import`, which turns the offsets round",
            )
    nearest_channels(volume, found.offsets, per_section)
    return found


def nearest_channels(volume: Volume, offsets: tuple[Voxels, ...], per_section: bool | None) -> list[int]:
    """Channels that join a voxel with the one before it along z, y, x (y, x only, if `per_section`)."""
    needed = NEAREST[1:] if per_section else NEAREST
    missing = [list(offset) for offset in needed if offset not in offsets]
    if missing:
        raise BadInput(
            volume.path,
            "a nearest-neighbour channel is missing",
            got=[list(offset) for offset in offsets],
            wanted=missing,
            todo="set fragments.per_section: true for 2D data" if not per_section else "",
        )
    return [offsets.index(offset) for offset in needed]


def pick(affinities: np.ndarray, channels: list[int]) -> np.ndarray:
    """The chosen channels, without a copy where they lie side by side."""
    if channels and channels == list(range(channels[0], channels[0] + len(channels))):
        return affinities[channels[0] : channels[0] + len(channels)]
    return affinities[channels]


def full_affinity(dtype: np.dtype) -> int:
    """The stored value that means affinity 1."""
    return int(np.iinfo(dtype).max)
