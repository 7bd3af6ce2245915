"""Affinities of an image by a quick head, tile by tile, through the same interface as a network's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.models.averaging.base import as_uint8, whole_strides
from contraband.models.classes import INSIDE, affinities_of
from contraband.quick.features import features_of
from contraband.quick.file import Recipe, check_features, fingerprint, load_head
from contraband.quick.gaussian import shrunk
from contraband.quick.head import QuickHead


class QuickPredictor:
    """A head and its recipe. A voxel's affinities are the same to the bit whatever tile it lies in.

    With embeddings that holds for tiles of one shape at multiples of it, as runs have them.
    """

    kind = "affinities"
    has_foreground = False
    norm_factor = None

    def __init__(self, head: QuickHead, recipe: Recipe) -> None:
        """Raises BadInput if the features of the recipe cannot be had."""
        self._head = head
        self._recipe = recipe
        self._features = features_of(recipe)
        far = (max(abs(offset[axis]) for offset in recipe.offsets) for axis in range(3))
        steps = zip(far, self._features.stride, strict=True)
        self._reach = as_voxels(-(-reach // step) * step for reach, step in steps)
        self.context: Voxels = as_voxels(map(sum, zip(self._features.halo, self._reach, strict=True)))
        """Voxels needed around a tile: those of the features, for the voxel itself and its neighbours."""
        self.in_channels = recipe.channels
        """Channels of raw that it sees."""
        self.features = self._features.count
        """Features that the recipe gives of a voxel."""
        self.percentiles = recipe.percentiles
        """How raw has to be stretched before it is given to this; None where it is taken as it is stored."""
        self.offsets = [list(offset) for offset in recipe.offsets]
        self.channels = len(recipe.offsets)
        self.fingerprint = fingerprint(head, recipe)
        """sha256 over all that changes what is predicted."""

    def fit_output(self, shape: Sequence[int]) -> Voxels:
        """The largest one not above `shape` of whole strides: any shape will do where features are Gaussian."""
        return whole_strides(shape, self._features.stride)

    def __call__(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """Affinities in [0, 1], float32 (K, z, y, x), of raw ([channel,] z, y, x) with the context around."""
        inside = self._head.of_volume(self._features.within(raw))[INSIDE]
        return np.stack([shrunk(one, self._reach) for one in affinities_of(inside, self._recipe.offsets)])

    def quantised(self, raw: NDArray[np.generic]) -> NDArray[np.uint8]:
        """The same as uint8, 255 for 1, rounded to the nearest."""
        return as_uint8(self(raw))


def load_quick_predictor(path: Path, kind: str) -> QuickPredictor:
    """The head in a file, ready to predict; BadInput if it is none, or if embeddings are wanted."""
    if kind != "affinities":
        raise BadInput(path, "a quick head has no embeddings", got=kind, wanted="affinities", todo="name a checkpoint")
    head, recipe = load_head(path)
    predictor = QuickPredictor(head, recipe)
    check_features(path, head, predictor.features)
    return predictor
