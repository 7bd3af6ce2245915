"""What a check is given: the device, a network and volumes of a size that suits it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockwise.grid import Voxels, as_voxels
from contraband.models.predictor import Predictor, load_predictor
from contraband.models.settings import ModelSettings
from tests.benchmarks.report import Row
from tests.support.untrained import like_fib25, store_untrained


class LeftOut(Exception):
    """A check has nothing to look at here; its text says why."""


@dataclass(frozen=True)
class Scene:
    """A volume that is predicted, in blocks of one tile."""

    tiles: Voxels
    """How many along z, y, x."""
    tile: Voxels
    """Voxels of each."""

    @property
    def shape(self) -> Voxels:
        """Voxels of all."""
        return as_voxels(size * count for size, count in zip(self.tile, self.tiles, strict=True))

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return math.prod(self.tiles)


@dataclass(frozen=True)
class Trial:
    """One going over all checks."""

    device: str
    """cuda, or cpu to try the checks themselves."""
    folder: Path
    quick: bool = False

    @property
    def is_gpu(self) -> bool:
        """Whether it is in earnest."""
        return self.device != "cpu"

    @property
    def model(self) -> ModelSettings:
        """Of the network: that of fib25, with fewer maps on a CPU."""
        return like_fib25(16 if self.is_gpu else 2)

    @property
    def tile(self) -> Voxels:
        """Voxels predicted in one pass."""
        return (64, 64, 64) if self.is_gpu else (16, 16, 16)

    @property
    def small(self) -> Scene:
        """A volume in many small blocks."""
        return Scene((2, 4, 4) if self.is_gpu and self.quick else (4, 4, 4), self.tile)

    @property
    def large(self) -> Scene:
        """A volume in blocks as one would give a GPU, so many that the first and the last do not count."""
        return Scene((2, 4, 4) if self.quick else (4, 4, 4), (128, 128, 128)) if self.is_gpu else self.small

    @cached_property
    def checkpoint(self) -> Path:
        """A network with the weights of a seed, made once."""
        path = self.folder / "network"
        store_untrained(path, self.model)
        return path

    def predictor(self, device: str | None = None, precision: str = "float32") -> Predictor:
        """The network on the device of the trial, or on another one."""
        return load_predictor(self.checkpoint, "affinities", device or self.device, precision)

    def raw(self, predictor: Predictor, tile: Voxels | None = None) -> NDArray[np.uint8]:
        """Noise for a tile with its context, of a seed."""
        shape = predictor.input_shape(tile or self.tile)
        return np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)


Check = Callable[[Trial], Iterator[Row]]
"""Gives the rows of the table one by one; raises LeftOut where there is nothing to check."""
