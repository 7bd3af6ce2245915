"""What is averaged: a network that says affinities, and how its values are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from blockwise.grid import Voxels, as_voxels
from contraband.models.normalise import Percentiles


def whole_strides(shape: Sequence[int], stride: Sequence[int]) -> Voxels:
    """The largest shape of whole strides not above `shape`, but at least one stride."""
    return as_voxels(max(size // step, 1) * step for size, step in zip(shape, stride, strict=True))


class Predicting(Protocol):
    """What the stage that predicts needs. All shapes are (z, y, x) in voxels."""

    kind: Any
    """affinities or embeddings."""
    channels: Any
    in_channels: Any
    """How many channels of raw it is shown."""
    context: Voxels
    """Voxels of raw needed around a tile on each side."""
    fingerprint: str

    @property
    def offsets(self) -> list[list[int]]:
        """The neighbour that each affinity channel joins a voxel with; none for embeddings."""

    @property
    def has_foreground(self) -> bool:
        """Whether the last channel says how sure it is that a voxel is foreground."""

    @property
    def percentiles(self) -> Percentiles | None:
        """How raw is stretched before it is shown."""

    @property
    def norm_factor(self) -> float | None:
        """What raw is multiplied by before it is shown; None: by nothing that is known."""

    def fit_output(self, shape: Sequence[int]) -> Voxels:
        """The tile for which it can be asked that is most like this."""

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """(C, z, y, x) float32 of a tile, without the context that raw has around it."""

    def quantised(self, raw: np.ndarray) -> np.ndarray:
        """Affinities as uint8."""


@runtime_checkable
class Beginning(Protocol):
    """What can have the next tile begun while the last one is still computed, by a device of its own."""

    def begin(self, raw: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin with a tile; what is returned waits for it, and gives (C, z, y, x) as it is stored."""


class Averageable(Predicting, Protocol):
    """A network that can be asked about more than a tile."""

    stride: Voxels
    """Tiles at multiples of this, of whole multiples, have the values of the volume."""
    is_flat: bool
    """Whether each section is predicted by itself."""


class Averaged(ABC):
    """What a mean has of the networks that it is the mean of, which all say the same."""

    kind = "affinities"

    def __init__(self, network: Averageable) -> None:
        """network: any of them."""
        self.in_channels = network.in_channels
        self.offsets = network.offsets
        self.has_foreground = network.has_foreground
        self.percentiles = network.percentiles
        self.norm_factor = network.norm_factor
        self.is_flat = network.is_flat

    @abstractmethod
    def __call__(self, raw: np.ndarray) -> NDArray[np.float32]:
        """(C, z, y, x) float32 in [0, 1] of a tile, without the context that raw has around it."""

    def quantised(self, raw: np.ndarray) -> NDArray[np.uint8]:
        """The same as uint8, 255 for 1, rounded to the nearest."""
        return as_uint8(self(raw))


def as_uint8(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values in [0, 1] as uint8, 255 for 1, rounded to the nearest, as those of one network are stored."""
    scaled = np.clip(values, 0, 1) * np.float32(255)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def inner(values: NDArray[Any], begin: Sequence[int], shape: Sequence[int]) -> NDArray[Any]:
    """A box along the last three axes."""
    z, y, x = (slice(first, first + size) for first, size in zip(begin, shape, strict=True))
    return values[..., z, y, x]
