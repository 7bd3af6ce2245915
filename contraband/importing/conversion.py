"""What an import does to the numbers of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from blockwise.errors import BadInput
from contraband.importing.options import ImportOptions

WHOLE = {2: ("int16", 2**11), 4: ("int32", 2**24), 8: ("int64", 2**53)}
"""By bytes of a float: the integers that hold all whole numbers it tells apart, and the largest of these."""
UNLABELLED = (float(2**32 - 1), float(2**32), float(2**64))
"""The largest unsigned numbers, as floats have them."""


@dataclass(frozen=True)
class Conversion:
    """From stored numbers to the numbers of the volume."""

    kind: Literal["keep", "quantise", "boundaries", "labels"]
    dtype: str
    channels: int | None = None
    """Channels of the result; None: as many as there are."""
    reach: int = 0
    """Voxels before a slab that are read along with it."""
    full: int | None = None
    """The stored whole number that means 1; None for floats, and for what is kept."""

    def for_dtype(self, dtype: np.dtype[Any]) -> Conversion:
        """The same for another kind of numbers; truth values become 0 and 1."""
        return replace(self, dtype="uint8" if dtype.kind == "b" else dtype.newbyteorder("=").name)

    def apply(self, data: np.ndarray, missing: Sequence[int], where: str) -> np.ndarray:
        """The numbers to store; raises BadInput naming `where` for NaN, infinity, and what is no probability or label.

        missing: voxels along z, y, x that `reach` asks for but that lie before the volume.
        """
        check_finite(data, where)
        if self.kind == "labels":
            return whole_numbers(data, self.dtype, where)
        if self.kind == "keep" and self.full is None:
            return data.astype(self.dtype, copy=False)
        if data.dtype.kind == "f":
            check_probabilities(data, where)
        levels = quantise(data) if self.full is None else as_levels(data, self.full)
        if self.kind != "boundaries":
            return levels
        return boundaries_to_affinities(np.pad(levels, [(count, 0) for count in missing], mode="edge"))


KEEP = Conversion("keep", "uint8")
QUANTISE = Conversion("quantise", "uint8")
FROM_BOUNDARIES = Conversion("boundaries", "uint8", channels=3, reach=1)


def conversion(path: Path, dtype: np.dtype[Any], has_channels: bool, options: ImportOptions) -> Conversion:
    """What is done to the numbers; raises BadInput if they are none, or are not what the options say."""
    if dtype.kind not in "buif":
        raise BadInput(path, "does not hold plain numbers", got=dtype, wanted="integers or floats")
    if dtype.itemsize > 8:
        wanted = "at most 64 bits"
        raise BadInput(path, "holds floats that are too long", got=dtype, wanted=wanted, todo="save it as float64")
    found = f"{dtype}, {'with' if has_channels else 'no'} channels"
    if options.boundaries:
        if has_channels or not (dtype.kind in "bf" or dtype in (np.uint8, np.uint16)):
            wanted = "(z, y, x) float in 0..1, truth values, uint8 or uint16"
            raise BadInput(path, "boundaries need one probability per voxel", got=found, wanted=wanted)
        return FROM_BOUNDARIES
    if options.quantise:
        if not has_channels or dtype.kind != "f":
            raise BadInput(
                path,
                "only float affinities are quantised",
                got=found,
                wanted="(channel, z, y, x) float in 0..1",
                todo="leave --quantise out",
            )
        return QUANTISE
    if options.labels:
        return labels_of(path, dtype, has_channels)
    if has_channels and dtype.kind == "f":
        raise BadInput(path, "float affinities are stored as uint8", got=dtype, todo="add --quantise")
    return KEEP.for_dtype(dtype)


def labels_of(path: Path, dtype: np.dtype[Any], has_channels: bool) -> Conversion:
    """Labels as integers; raises BadInput for what cannot be labels."""
    if has_channels:
        raise BadInput(path, "labels have no channels", got="several", wanted="(z, y, x)", todo="choose by --channel 0")
    if dtype.kind != "f":
        return replace(KEEP.for_dtype(dtype), kind="labels")
    if dtype.itemsize not in WHOLE:
        raise BadInput(path, "labels of this type are not known here", got=dtype, wanted="integers or float64")
    return Conversion("labels", WHOLE[dtype.itemsize][0])


def whole_numbers(data: np.ndarray, dtype: str, where: str) -> np.ndarray:
    """Labels as `dtype`; raises BadInput for fractions, for negative ones but -1, and for those that floats mix up."""
    if data.dtype.kind in "fi" and data.min(initial=0) < -1:
        raise BadInput(
            where, "labels are negative", got=data.min(), wanted="0 or more, and -1 for what is not labelled"
        )
    if data.dtype.kind != "f":
        return data.astype(dtype, copy=False)
    # The largest unsigned number means the same as -1, and has become a float with all others.
    known = np.where(np.isin(data, UNLABELLED), data.dtype.type(-1), data)
    most = WHOLE[data.dtype.itemsize][1]
    if known.max(initial=0) > most:
        got = f"{known.max():.0f}, where {data.dtype} tells apart numbers up to {most}"
        raise BadInput(where, "labels are too large for their type", got=got, todo="export them as integers")
    whole = known.astype(dtype)
    if (whole != known).any():
        got = known[whole != known].flat[0]
        raise BadInput(where, "labels are no whole numbers", got=got, wanted="such as 7", todo="leave --labels out")
    return whole


def quantise(probability: np.ndarray) -> np.ndarray:
    """0..1 as uint8: 255 times the value, rounded."""
    levels: np.ndarray = np.rint(np.clip(probability, 0, 1) * np.float32(255)).astype(np.uint8)
    return levels


def as_levels(data: np.ndarray, full: int) -> np.ndarray:
    """0..full as uint8, 0 to 255, rounded."""
    if full == 255:
        return data.astype(np.uint8, copy=False)
    levels: np.ndarray = ((data.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
    return levels


def boundaries_to_affinities(boundary: np.ndarray) -> np.ndarray:
    """(3, Z - 1, Y - 1, X - 1) uint8: 1 - the larger of a voxel's boundary and that of the voxel before it.

    boundary: (Z, Y, X) uint8 in 0..255, beginning one voxel before the result on each axis.
    """
    here = boundary[1:, 1:, 1:]
    before = (boundary[:-1, 1:, 1:], boundary[1:, :-1, 1:], boundary[1:, 1:, :-1])
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
