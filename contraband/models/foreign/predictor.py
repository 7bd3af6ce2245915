"""The network of a file as a function: raw of a tile in, affinities or embeddings of the tile out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.models.averaging.base import as_uint8, whole_strides
from contraband.models.classes import affinities_of
from contraband.models.engines.base import Engine
from contraband.models.foreign.files import digest_of, load_engine
from contraband.models.foreign.settings import NetworkUse
from contraband.models.halving import Halving

ORDER = "bczyx"
PROBED = 8
"""Voxels along each axis of the tile, at least, from which it is learned how many channels there are."""


class ForeignPredictor:
    """A network and how it is used. All shapes are (z, y, x) in voxels."""

    norm_factor = None
    in_channels = 1

    def __init__(self, engine: Engine, use: NetworkUse, digest: str) -> None:
        """digest: what the file is known by."""
        self._engine = engine
        self._use = use
        self.kind = "embeddings" if use.says == "embeddings" else "affinities"
        """affinities or embeddings."""
        self.stride: Voxels = use.stride
        self.is_flat = "z" not in use.input.axes
        """Whether each section is predicted by itself."""
        self.percentiles = use.input.normalise.percentiles
        """How raw has to be stretched before it is given to this; None where it is taken as it is stored."""
        self.offsets: list[list[int]] = [] if self.kind == "embeddings" else [list(one) for one in use.offsets]
        self.margin = self._reach() if use.says in ("boundary", "foreground+boundary") else (0, 0, 0)
        """Voxels predicted around a tile for the neighbours of its voxels."""
        self.context: Voxels = as_voxels(c + m for c, m in zip(use.context, self.margin, strict=True))
        """Voxels of raw needed around a tile on each side."""
        self.halving = Halving(use.context, use.stride)
        self.fingerprint = hashlib.sha256(f"{digest} {use.model_dump_json()}".encode()).hexdigest()
        """sha256 over all that changes what is predicted."""
        shape = [-(-PROBED // s) * s + 2 * c for s, c in zip(self.stride, use.context, strict=True)]
        said = self.channels_of(np.zeros(shape, np.uint8))
        self.has_foreground, self.channels = self._meaning(len(said))

    def fit_output(self, shape: Sequence[int]) -> Voxels:
        """The largest valid output tile not above `shape`, but at least one stride."""
        return whole_strides(shape, self.stride)

    def __call__(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """Affinities in [0, 1], the foreground after them, or embeddings: (C, z, y, x) of raw with its context."""
        values = self.halving(self.channels_of, raw)
        if self._use.says == "boundary":
            return self._inner(affinities_of(1 - values[0], self.offsets))
        if self._use.says == "foreground+boundary":
            joined = affinities_of(np.minimum(values[0], 1 - values[1]), self.offsets)
            return self._inner(np.concatenate([joined, values[:1]]))
        return values

    def quantised(self, raw: NDArray[np.generic]) -> NDArray[np.uint8]:
        """The same as uint8, 255 for 1, rounded to the nearest."""
        return as_uint8(self(raw))

    def channels_of(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """What the network says, (C, z, y, x), of raw (z, y, x) without `context` of the settings on each side.

        Raises BadInput if the network gives other extents than it should.
        """
        values = self.everything_of(raw)
        wanted = [n - 2 * c for n, c in zip(raw.shape, self._use.context, strict=True)]
        over = [have - want for have, want in zip(values.shape[1:], wanted, strict=True)]
        if min(wanted) < 1 or any(one < 0 or one % 2 for one in over):
            raise BadInput(
                "model.context",
                f"does not fit the network, which makes {list(values.shape[1:])} of {list(raw.shape)} voxels",
                got=list(self._use.context),
                wanted="as many voxels on each side as it loses, or more",
            )
        kept = (slice(more // 2, n - more // 2) for more, n in zip(over, values.shape[1:], strict=True))
        return values[(slice(None), *kept)]

    def everything_of(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """What the network makes of raw (z, y, x), (C, z, y, x), nothing taken off."""
        how = self._use.input.normalise
        values = raw.astype(np.float32) * np.float32(how.factor) + np.float32(how.shift)
        axes = self._use.input.axes
        # sections are a batch for a 2D network
        batch = values[:, None] if self.is_flat else values[None, None]
        have = "bcyx" if self.is_flat else ORDER
        for axis in (one for one in have if one not in axes):
            batch = batch.squeeze(have.index(axis))
            have = have.replace(axis, "")
        found = self._engine(batch.transpose([have.index(axis) for axis in axes]))
        return _as_czyx(found, axes)

    def _meaning(self, said: int) -> tuple[bool, int]:
        """Whether there is a foreground, and how many channels are predicted; BadInput if `said` are not as told."""
        near = len(self.offsets)
        wanted = {
            "affinities": (near, near + 1),
            "boundary": (1,),
            "foreground+boundary": (2,),
            "embeddings": (said,),
        }[self._use.says]
        if said not in wanted:
            raise BadInput(
                "model.output",
                f"the network has other channels than {self._use.says} need",
                got=said,
                wanted=" or ".join(map(str, wanted)),
                todo="correct model.output or model.offsets",
            )
        has_foreground = self._use.says == "foreground+boundary" or (self._use.says == "affinities" and said > near)
        return has_foreground, said if self.kind == "embeddings" else near + has_foreground

    def _reach(self) -> Voxels:
        """Whole strides to either side that hold the neighbours of every voxel."""
        far = (max(abs(offset[axis]) for offset in self.offsets) for axis in range(3))
        return as_voxels(-(-n // step) * step for n, step in zip(far, self.stride, strict=True))

    def _inner(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        kept = (slice(edge, n - edge) for edge, n in zip(self.margin, values.shape[1:], strict=True))
        return np.ascontiguousarray(values[(slice(None), *kept)])


def load_foreign_predictor(path: Path, use: NetworkUse, device: str) -> ForeignPredictor:
    """The network of a file, ready to predict; raises BadInput if it is none, or not what the settings say."""
    return ForeignPredictor(load_engine(path, use.engine, use.precision, device), use, digest_of(path))


def _as_czyx(found: NDArray[np.float32], axes: str) -> NDArray[np.float32]:
    """What a network gives, (C, z, y, x); its axes are those it was given, and a channel also if that was left out."""
    have = axes
    if found.ndim == len(axes) + 1 and "c" not in axes:
        have = f"{axes[0]}c{axes[1:]}" if axes[0] == "b" else f"c{axes}"
    if found.ndim != len(have):
        raise BadInput("model.input.axes", "are not those that the network gives back", got=found.shape, wanted=have)
    if "c" not in have:
        found, have = found[None], f"c{have}"
    if "z" not in have:
        have = have.replace("b", "z")
    elif "b" in have:
        found = np.take(found, [0], have.index("b")).squeeze(have.index("b"))
        have = have.replace("b", "")
    return np.ascontiguousarray(found.transpose([have.index(axis) for axis in "czyx"]))
