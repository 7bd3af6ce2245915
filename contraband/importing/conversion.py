"""What an import does to the numbers of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from blockwise.errors import BadInput


@dataclass(frozen=True)
class Conversion:
    """From stored numbers to the numbers of the volume."""

    kind: Literal["keep", "quantise", "boundaries"]
    dtype: str
    channels: int | None = None
    """Channels of the result; None: as many as there are."""
    reach: int = 0
    """Voxels before a slab that are read along with it."""

    def for_dtype(self, dtype: np.dtype[Any]) -> Conversion:
        """The same for another kind of numbers; truth values become 0 and 1."""
        return replace(self, dtype="uint8" if dtype.kind == "b" else dtype.newbyteorder("=").name)

    def apply(self, data: np.ndarray, missing: Sequence[int], where: str) -> np.ndarray:
        """The numbers to store; raises BadInput naming `where` for NaN, infinity or what is no probability.

        missing: voxels along z, y, x that `reach` asks for but that lie before the volume.
        """
        check_finite(data, where)
        if self.kind == "keep":
            return data.astype(self.dtype, copy=False)
        if data.dtype.kind == "f":
            check_probabilities(data, where)
        if self.kind == "quantise":
            return quantise(data)
        return boundaries_to_affinities(np.pad(data, [(count, 0) for count in missing], mode="edge"))


KEEP = Conversion("keep", "uint8")
QUANTISE = Conversion("quantise", "uint8")
FROM_BOUNDARIES = Conversion("boundaries", "uint8", channels=3, reach=1)


def quantise(probability: np.ndarray) -> np.ndarray:
    """0..1 as uint8: 255 times the value, rounded."""
    levels: np.ndarray = np.rint(np.clip(probability, 0, 1) * np.float32(255)).astype(np.uint8)
    return levels


def boundaries_to_affinities(boundary: np.ndarray) -> np.ndarray:
    """(3, Z - 1, Y - 1, X - 1) uint8: 1 - the larger of a voxel's boundary and that of the voxel before it.

    boundary: (Z, Y, X), float in 0..1 or uint8 in 0..255, beginning one voxel before the result on each axis.
    """
    levels = boundary if boundary.dtype == np.uint8 else quantise(boundary)
    here = levels[1:, 1:, 1:]
    before = (levels[:-1, 1:, 1:], levels[1:, :-1, 1:], levels[1:, 1:, :-1])
    return np.stack([255 - np.maximum(here, other) for other in before])


def check_finite(data: np.ndarray, where: str) -> None:
    """Raise BadInput if a value is NaN or infinite."""
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        count = int(data.size - np.isfinite(data).sum())
        raise BadInput(where, "values are NaN or infinite", got=f"{count} of them", todo="repair them first")


def check_probabilities(data: np.ndarray, where: str) -> None:
    """Raise BadInput if a value lies outside 0..1, rounding errors apart."""
    low, high = float(data.min()), float(data.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise BadInput(where, "values are not probabilities", got=f"{low:.3g} to {high:.3g}", wanted="0 to 1")
