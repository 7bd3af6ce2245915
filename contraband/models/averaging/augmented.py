"""A network asked about mirrored and turned images of a tile: the mean of what it says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.models.averaging.base import Averageable, Averaged, inner
from contraband.models.averaging.turns import Orientations, places_of, turns


class Augmented(Averaged):
    """The mean over orientations. All shapes are (z, y, x) in voxels.

    All images show the tile and the same voxels around it, so that a program that prepares a network for a shape does
    so once, or twice where y and x are swapped. A network whose values turn with the image keeps them to the bit.
    """

    def __init__(self, network: Averageable, augment: Orientations) -> None:
        """augment: flips or rotations. Raises BadInput for a network that they do not suit."""
        if network.kind != "affinities":
            raise BadInput("model.augment", "is for affinities", got=network.kind, todo="use augment: none")
        if augment == "rotations" and (network.context[1:], network.stride[1:]) != (
            network.context[:0:-1],
            network.stride[:0:-1],
        ):
            raise BadInput(
                "model.augment",
                "rotations need a network that looks as far along y as along x",
                got=f"context {list(network.context)}, stride {list(network.stride)}",
                todo="use flips",
            )
        super().__init__(network)
        self._network = network
        self.channels: int = network.channels
        self.stride = network.stride
        self.fingerprint = network.fingerprint
        """That of the network: how it is asked is told by who asks."""
        joined = [*self.offsets, *([[0, 0, 0]] if self.has_foreground else [])]
        self._places = [(turn, places_of(turn, joined)) for turn in turns(augment, network.is_flat)]
        furthest = [said.further for _, places in self._places for said in places]
        self._low = self._whole_strides(max(-far[axis] for far in furthest) for axis in range(3))
        """Voxels before a tile that are also predicted."""
        self._high = self._whole_strides(max(far[axis] for far in furthest) for axis in range(3))
        self._around = as_voxels(map(max, zip(self._low, self._high, strict=True)))
        self.context: Voxels = as_voxels(map(sum, zip(network.context, self._around, strict=True)))
        """Voxels of raw needed around a tile on each side."""

    def fit_output(self, shape: Sequence[int]) -> Voxels:
        """The tile for which it can be asked that is most like this."""
        return self._network.fit_output(shape)

    def __call__(self, raw: np.ndarray) -> NDArray[np.float32]:
        """Affinities in [0, 1], the foreground after them, float32 (C, z, y, x) of raw with its context."""
        begin = [most - low for most, low in zip(self._around, self._low, strict=True)]
        ends = zip(raw.shape[-3:], begin, self._around, self._high, strict=True)
        raw = inner(raw, begin, [size - first - most + high for size, first, most, high in ends])
        return self._sum(raw, 0, len(self._places)) / np.float32(len(self._places))

    def _sum(self, raw: np.ndarray, first: int, last: int) -> NDArray[np.float32]:
        """The sum over some orientations, by halves: of 2, 4, 8 or 16 equal numbers it is then exact."""
        if last - first == 1:
            return self._of_turn(raw, first)
        middle = (first + last) // 2
        total = self._sum(raw, first, middle)
        total += self._sum(raw, middle, last)
        return total

    def _of_turn(self, raw: np.ndarray, number: int) -> NDArray[np.float32]:
        """(C, z, y, x) of a tile by one orientation."""
        turn, places = self._places[number]
        values = turn.undo(self._network(np.ascontiguousarray(turn.apply(raw))))
        edges = zip(values.shape[1:], self._low, self._high, strict=True)
        shape = [size - low - high for size, low, high in edges]
        result = np.empty((len(places), *shape), np.float32)
        for channel, said in zip(result, places, strict=True):
            begin = [low + step for low, step in zip(self._low, said.further, strict=True)]
            channel[:] = inner(values[said.channel], begin, shape)
        return result

    def _whole_strides(self, voxels: Iterable[int]) -> Voxels:
        """The least multiples of the stride that are no less."""
        return as_voxels(-(-n // step) * step for n, step in zip(voxels, self.stride, strict=True))


def oriented(network: Averageable, augment: Orientations) -> Averageable:
    """The network itself, or the mean of its orientations."""
    return network if augment == "none" else Augmented(network, augment)
