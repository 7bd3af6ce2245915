"""Mirror images of a volume, with y and x swapped or not, and which affinity of an image is which of the volume.

An affinity joins voxel v with v + offset. In a mirrored image the pair is the same, but the other of its voxels may
come first: what the image says at one voxel then belongs to the one that lies an offset further on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels

Orientations = Literal["none", "flips", "rotations"]


@dataclass(frozen=True)
class Turn:
    """One way to look at a volume; all is along the last three axes, z, y, x."""

    mirrored: tuple[bool, bool, bool]
    swapped: bool = False
    """Whether y and x are swapped, before anything is mirrored."""

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """The image of a volume."""
        return self._flip(self._swap(values))

    def undo(self, values: NDArray[Any]) -> NDArray[Any]:
        """The volume of an image."""
        return self._swap(self._flip(values))

    def original(self, offset: Sequence[int]) -> Voxels:
        """How far apart voxels are in the volume that are an offset apart in the image."""
        z, y, x = (-step if back else step for step, back in zip(offset, self.mirrored, strict=True))
        return (z, x, y) if self.swapped else (z, y, x)

    def _swap(self, values: NDArray[Any]) -> NDArray[Any]:
        return values.swapaxes(-1, -2) if self.swapped else values

    def _flip(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.flip(values, tuple(axis - 3 for axis in range(3) if self.mirrored[axis]))


@dataclass(frozen=True)
class ToldAt:
    """Where in a turned image, brought back to the volume, a channel of the volume is said."""

    channel: int
    further: Voxels
    """Voxels along z, y, x from the voxel that it belongs to to the one where it is said."""


def turns(augment: Orientations, is_flat: bool) -> Iterator[Turn]:
    """All of `flips` or `rotations`, always in the same order, the volume as it is first.

    is_flat: a network of sections is shown no section mirrored in z.
    """
    for swapped in (False, True) if augment == "rotations" else (False,):
        for z, y, x in product((False,) if is_flat else (False, True), (False, True), (False, True)):
            yield Turn((z, y, x), swapped)


def places_of(turn: Turn, offsets: Sequence[Sequence[int]]) -> list[ToldAt]:
    """Of each channel where a turned image says it; raises BadInput if it does not.

    offsets: of the channels; (0, 0, 0) for one that joins no voxels, such as foreground.
    """
    known = {turn.original(offset): channel for channel, offset in enumerate(offsets)}
    found = []
    for offset in map(as_voxels, offsets):
        back = as_voxels(-step for step in offset)
        if offset in known:
            found.append(ToldAt(known[offset], (0, 0, 0)))
        elif back in known:
            found.append(ToldAt(known[back], offset))
        else:
            raise BadInput(
                "model.augment",
                f"no affinity of a turned image joins a voxel with its neighbour at {list(offset)}",
                got=f"offsets {[list(one) for one in offsets]}",
                wanted="for each offset its image as well, up to the sign",
                todo="use flips" if turn.swapped else "use augment: none",
            )
    return found
