"""The network of a training behind a session: what it says of a box that is looked at, and of labelled voxels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.experiments.study.prediction import all_classes, class_predictor
from contraband.label.image import FeatureImage
from contraband.models.checkpoints import load_checkpoint
from contraband.volumes.tiles import covering, tiles

TILES: dict[int, Voxels] = {2: (1, 256, 256), 3: (32, 64, 64)}
"""Voxels that a network is asked for at once."""


class TrainedNetwork:
    """A checkpoint that tells classes, and the image that it is asked about."""

    def __init__(self, path: Path, image: FeatureImage) -> None:
        """Raises BadInput if the file is no checkpoint, or if its network has other dimensions than the session."""
        self.path = path
        content = load_checkpoint(path)
        dims = len(content["model"]["in_shape"])
        if dims != image.recipe.dims:
            todo = "give in_shape as many extents as the session has dimensions"
            raise BadInput(path, "its network does not fit", got=f"{dims}D", wanted=f"{image.recipe.dims}D", todo=todo)
        self.offsets = tuple(as_voxels(offset) for offset in content["offsets"])
        """The neighbours (z, y, x) of the affinities that a run makes of it."""
        self._image = image
        self._predictor = class_predictor(content)
        self._levels = image.measured(self._predictor.percentiles)

    def of_box(self, box: Roi) -> NDArray[np.float32]:
        """Probabilities (3, z, y, x) of the classes; those of a run with this checkpoint, but for rounding."""
        result = np.empty((3, *box.shape), np.float32)
        within = covering(box, self._predictor.stride)
        wanted = [min(one, size) for one, size in zip(TILES[self._image.recipe.dims], within.shape, strict=True)]
        for tile in tiles(box, self._predictor.fit_output(wanted)):
            inner = tile.intersect(box)
            said = self._of_tile(tile)[(slice(None), *(inner - tile.begin).to_slices())]
            result[(slice(None), *(inner - box.begin).to_slices())] = said
        return result

    def at(self, voxels: Sequence[Voxels]) -> NDArray[np.float32]:
        """(P, 3): the same at voxels."""
        found = [self.of_box(Roi(voxel, (1, 1, 1))).reshape(3) for voxel in voxels]
        return np.array(found, np.float32).reshape(-1, 3)

    def _of_tile(self, tile: Roi) -> NDArray[np.float32]:
        around = Coordinate(self._predictor.context)
        return all_classes(self._predictor(self._image.raw(tile.grow(around, around), self._levels)))
