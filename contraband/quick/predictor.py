"""Affinities of an image by a quick head, tile by tile, through the same interface as a network's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.models.classes import INSIDE, affinities_of
from contraband.quick.file import Recipe, fingerprint, load_head
from contraband.quick.gaussian import shrunk
from contraband.quick.head import QuickHead


class QuickPredictor:
    """A head and its recipe. A voxel's affinities are the same to the bit whatever tile it lies in."""

    kind = "affinities"
    has_foreground = False
    norm_factor = None

    def __init__(self, head: QuickHead, recipe: Recipe) -> None:
        self._head = head
        self._recipe = recipe
        self._reach = as_voxels(max(abs(offset[axis]) for offset in recipe.offsets) for axis in range(3))
        halo = recipe.gaussian.halo(recipe.dims)
        self.context: Voxels = as_voxels(side + far for side, far in zip(halo, self._reach, strict=True))
        """Voxels needed around a tile: those of the features, for the voxel itself and its neighbours."""
        self.percentiles = recipe.percentiles
        """How raw has to be stretched before it is given to this; None where it is taken as it is stored."""
        self.offsets = [list(offset) for offset in recipe.offsets]
        self.channels = len(recipe.offsets)
        self.fingerprint = fingerprint(head, recipe)
        """sha256 over all that changes what is predicted."""

    def fit_output(self, shape: Sequence[int]) -> Voxels:
        """Any shape will do."""
        return as_voxels(shape)

    def __call__(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """Affinities in [0, 1], float32 (K, z, y, x), of raw (z, y, x) with the context on each side."""
        features = self._recipe.gaussian.within(raw, self._recipe.dims)
        inside = self._head.of_volume(features)[INSIDE]
        return np.stack([shrunk(one, self._reach) for one in affinities_of(inside, self._recipe.offsets)])

    def quantised(self, raw: NDArray[np.generic]) -> NDArray[np.uint8]:
        """The same as uint8, 255 for 1, rounded to the nearest."""
        return quantised(self(raw))


def quantised(affinities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Affinities in [0, 1] as uint8, rounded to the nearest of 256 steps, as networks' are stored."""
    scaled = affinities * np.float32(255)
    rounded: NDArray[np.uint8] = np.rint(scaled, out=scaled).astype(np.uint8)
    return rounded


def load_quick_predictor(path: Path, kind: str) -> QuickPredictor:
    """The head in a file, ready to predict; BadInput if it is none, or if embeddings are wanted."""
    if kind != "affinities":
        raise BadInput(path, "a quick head has no embeddings", got=kind, wanted="affinities", todo="name a checkpoint")
    return QuickPredictor(*load_head(path))
