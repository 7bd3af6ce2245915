"""A foreground that is given: which voxels are foreground, and which number of it means certain."""

from __future__ import annotations

import numpy as np

from blockwise.arrays.content import identity, largest_number
from blockwise.arrays.kept import StoredFact
from blockwise.arrays.volume import Volume, info, is_there
from blockwise.errors import BadInput, WorkFailed
from blockwise.fields import Fraction, VolumePlace
from blockwise.settings import Settings

SMALLER = (1, 255)
"""Numbers that mean certain in types that hold larger ones, where none is larger."""
FULL_VALUE = "foreground"
"""The attribute of the fragments that keeps what was found out of the foreground they were made with."""


class ForegroundSettings(Settings):
    """Which voxels are foreground; all others are 0 in fragments and segments."""

    volume: VolumePlace | None = None
    """An image, (z, y, x), whose full value (1 for floats) is certain foreground; null: the network's own channel."""
    threshold: Fraction = 0.5
    """Voxels with at most this are background."""


class FullValue(StoredFact):
    """Which number of a foreground means certain, for which all of it is read."""

    full: int | None
    """In a foreground of 0 and 1, or of 8 bits in more; None: the full value of its type."""


def check_foreground(volume: Volume) -> None:
    """Raise BadInput for a volume that cannot tell foreground from background."""
    found = info(volume)
    if found.channels is not None or found.dtype.kind not in "buf":
        raise BadInput(
            volume.path,
            "has the wrong type for a foreground",
            got=f"{found.shape} {found.dtype}",
            wanted="(z, y, x) truth values, uint8, uint16 or floats from 0 to 1",
        )


def full_value(volume: Volume, fragments: Volume) -> FullValue:
    """The number of a foreground that means certain: as is kept with the fragments that were made with it.

    It is read as a whole where nothing is kept, or of another foreground than the one that lies there now.
    """
    measured = f"{volume.path.absolute()} {identity(volume)}"
    stored = info(fragments).attributes.get(FULL_VALUE) if is_there(fragments.path) else None
    known = FullValue.kept(stored, measured, str(fragments.path))
    return known or FullValue(measured=measured, full=_looked_up(volume))


def _looked_up(volume: Volume) -> int | None:
    dtype = info(volume).dtype
    limits = [limit for limit in SMALLER if dtype.kind == "u" and limit < np.iinfo(dtype).max]
    largest = largest_number(volume, limits[-1]) if limits else 0
    return next((limit for limit in limits if 0 < largest <= limit), None)


def check_full(values: np.ndarray, full: int | None, where: object) -> None:
    """Raise WorkFailed for values of a foreground above what was found to be its largest number.

    Chunks that are written anew in an array that stays change nothing that would tell so without reading them.
    """
    if full is not None and values.size and values.max() > full:
        raise WorkFailed(
            f"{where}: holds {values.max()}, where {full} was its largest number when it was read; "
            "it was written anew in place, which nothing tells: make it an array of another name"
        )


def is_foreground(values: np.ndarray, threshold: float, full: int | None = None) -> np.ndarray:
    """Where values lie above `threshold`: a fraction of `full`, of the full value of whole numbers, or of 1."""
    if full is None:
        full = int(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else 1
    above: np.ndarray = values > (int(threshold * full) if full > 1 else threshold)
    return above
