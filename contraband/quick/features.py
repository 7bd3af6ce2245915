"""What a quick head is shown of a region: Gaussian features, embeddings of an encoder, or both.

Embeddings of a voxel are the same whatever region they are computed for, as long as regions begin at multiples of
`stride`: to rounding where a region is larger, and to the bit where it is the same one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.models.normalise import Percentiles
from contraband.quick.file import Recipe
from contraband.quick.gaussian import GaussianFeatures, shrunk

if TYPE_CHECKING:
    from contraband.models.predictor import Predictor

Values = NDArray[np.float32]


class Features(ABC):
    """Features of regions of an image. All shapes are (z, y, x) in voxels."""

    count: int
    """How many there are of a voxel."""
    halo: Voxels
    """Voxels of raw needed around a region on each side."""
    stride: Voxels = (1, 1, 1)
    """Regions begin at multiples of this, and their extents are such."""

    @abstractmethod
    def within(self, raw: NDArray[np.generic]) -> Values:
        """(F, z, y, x) of a region; raw ([channel,] z, y, x) is the region and its halo on each side."""


class Gaussian(Features):
    """Those of `GaussianFeatures`, one channel after the other, for regions of any place and shape."""

    def __init__(self, gaussian: GaussianFeatures, dims: int, channels: int = 1) -> None:
        self.count = gaussian.count(dims) * channels
        self.halo = gaussian.halo(dims)
        self._gaussian = gaussian
        self._dims = dims

    def within(self, raw: NDArray[np.generic]) -> Values:
        if raw.ndim == 3:
            return self._gaussian.within(raw, self._dims)
        return np.concatenate([self._gaussian.within(channel, self._dims) for channel in raw])


class Embeddings(Features):
    """Those of an encoder at several decoder levels."""

    def __init__(self, predictor: Predictor) -> None:
        self.count = int(predictor.channels)
        self.halo = predictor.context
        self.stride = predictor.stride
        self._predictor = predictor

    def within(self, raw: NDArray[np.generic]) -> Values:
        return self._predictor(raw)


class Both(Features):
    """The features of two, one after the other."""

    def __init__(self, first: Features, second: Features) -> None:
        self.count = first.count + second.count
        self.halo = as_voxels(map(max, first.halo, second.halo))
        self.stride = as_voxels(int(np.lcm(*pair)) for pair in zip(first.stride, second.stride, strict=True))
        self.first = first
        self._each = (first, second)

    def within(self, raw: NDArray[np.generic]) -> Values:
        margins = [as_voxels(more - less for more, less in zip(self.halo, one.halo, strict=True)) for one in self._each]
        pairs = zip(self._each, margins, strict=True)
        values = np.asarray(raw, np.float32)
        return np.concatenate([one.within(shrunk(values, margin)) for one, margin in pairs])


def features_of(recipe: Recipe) -> Features:
    """What a recipe asks for; BadInput if its encoder is not there, is another one, or does not fit."""
    gaussian = Gaussian(recipe.gaussian, recipe.dims, recipe.channels)
    if recipe.features == "gaussian":
        return gaussian
    predictor = encoder(recipe.encoder, recipe.dims, recipe.channels)
    if recipe.weights is not None and predictor.fingerprint != recipe.weights:
        todo = "bring back the encoder, or label with the new one"
        raise BadInput(recipe.encoder, "is not the encoder that the head has learnt with", todo=todo)
    if predictor.percentiles != recipe.percentiles:
        raise BadInput(recipe.encoder, "was shown raw that was stretched otherwise", todo="leave out --stretch")
    embeddings = Embeddings(predictor)
    return embeddings if recipe.features == "embeddings" else Both(gaussian, embeddings)


def told_by(path: Path | None, dims: int, channels: int = 1) -> tuple[str, Percentiles | None]:
    """The weights of an encoder, as a sha256, and how raw is stretched for it."""
    predictor = encoder(path, dims, channels)
    return predictor.fingerprint, predictor.percentiles


def encoder(path: Path | None, dims: int, channels: int = 1) -> Predictor:
    """The encoder of a checkpoint, at as many levels as it was trained with; BadInput if there is none that fits."""
    from contraband.models.checkpoints import load_checkpoint
    from contraband.models.folder import latest_checkpoint
    from contraband.models.predictor import load_predictor

    if path is None:
        raise BadInput("features", "embeddings need an encoder", todo="name a checkpoint by --encoder")
    newest = latest_checkpoint(path)
    content = load_checkpoint(newest)
    found = len(content["model"]["in_shape"])
    if found != dims:
        raise BadInput(newest, "its network does not fit", got=f"{found}D", wanted=f"{dims}D")
    levels = int(content["head"].get("levels", 1))
    predictor = load_predictor(newest, "embeddings", device="cpu", levels=levels)
    if predictor.in_channels != channels:
        todo = "choose as many by volume.channels" if predictor.in_channels < channels else "train on as many"
        got = predictor.in_channels
        raise BadInput(newest, "its network sees another number of channels", got=got, wanted=channels, todo=todo)
    return predictor
