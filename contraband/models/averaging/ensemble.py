"""Several networks asked about one tile: the mean of what they say, and how far they are apart."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.models.averaging.base import Averageable, Averaged, inner, whole_strides


class Ensemble(Averaged):
    """The mean over networks. All shapes are (z, y, x) in voxels."""

    def __init__(self, networks: Sequence[Averageable], disagreement: bool) -> None:
        """disagreement: one channel more, after all others. Raises BadInput if the networks say different things."""
        _check_alike(networks)
        # In an order of their own, so that sums do not depend on the order in which they are named.
        self._networks = sorted(networks, key=lambda one: one.fingerprint)
        first = networks[0]
        super().__init__(first)
        self.has_disagreement = disagreement
        """Whether the last channel says how far the networks are apart."""
        self.channels: int = first.channels + disagreement
        strides = zip(*(one.stride for one in networks), strict=True)
        self.stride: Voxels = as_voxels(math.lcm(*steps) for steps in strides)
        """Tiles at multiples of this suit all of them."""
        self.context: Voxels = as_voxels(map(max, zip(*(one.context for one in networks), strict=True)))
        """Voxels of raw needed around a tile on each side: as many as the one needs that looks furthest."""
        digests = " ".join(one.fingerprint for one in self._networks)
        self.fingerprint = hashlib.sha256(digests.encode()).hexdigest()
        """sha256 over those of the networks, in whatever order they are named."""

    def fit_output(self, shape: Sequence[int]) -> Voxels:
        """The largest valid output tile not above `shape`, but at least one stride."""
        return whole_strides(shape, self.stride)

    def __call__(self, raw: np.ndarray) -> NDArray[np.float32]:
        """Affinities in [0, 1], the foreground, twice the largest standard deviation of an affinity: (C, z, y, x).

        Numbers from 0 to 1 have a standard deviation of at most half, so that one is in [0, 1], too.
        """
        said = [self._of_network(network, raw) for network in self._networks]
        count = np.float32(len(said))
        mean = said[0].copy()
        for values in said[1:]:
            mean += values
        mean /= count
        if not self.has_disagreement:
            return mean
        near = len(self.offsets)
        squares = np.zeros_like(mean[:near])
        for values in said:
            squares += np.square(values[:near] - mean[:near])
        apart = 2 * np.sqrt(squares.max(axis=0) / count)
        return np.concatenate([mean, apart[None]])

    def _of_network(self, network: Averageable, raw: np.ndarray) -> NDArray[np.float32]:
        more = [most - own for most, own in zip(self.context, network.context, strict=True)]
        shape = [size - 2 * edge for size, edge in zip(raw.shape[-3:], more, strict=True)]
        values: NDArray[np.float32] = network(inner(raw, more, shape))
        return values


def _check_alike(networks: Sequence[Averageable]) -> None:
    """Raise BadInput, naming what differs, unless all networks are shown the same and say the same."""
    for key in ("kind", "offsets", "has_foreground", "channels", "in_channels", "is_flat", "percentiles"):
        first, *others = (getattr(one, key) for one in networks)
        for number, value in enumerate(others, start=2):
            if value != first:
                raise BadInput(
                    f"model.checkpoint, number {number}",
                    f"cannot be averaged with the first: {key.replace('_', ' ')} differ",
                    got=value,
                    wanted=first,
                    todo="name checkpoints of one kind",
                )
