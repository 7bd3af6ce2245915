"""Values that mean that nothing is known: of labels, and of raw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockwise.errors import WorkFailed

KINDS_OF_LABELS = "buif"
"""Kinds of numpy's types that can name objects: truth values, integers, and floats that are whole numbers."""


def as_integers(labels: np.ndarray, where: object) -> np.ndarray:
    """Labels as integers: truth values as uint8, floats as int64, -1 for what is not labelled.

    Raises WorkFailed naming `where` for floats that are no whole numbers, or below -1.
    """
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind != "f":
        return labels
    whole = np.isfinite(labels) & (labels == np.rint(labels)) & (labels >= -1)
    if not whole.all():
        raise WorkFailed(f"{where}: labels are no whole numbers, such as {labels[~whole].flat[0]}; give other labels")
    integers: np.ndarray = labels.astype(np.int64)
    return integers


def unlabelled(dtype: np.dtype[Any]) -> int | None:
    """The number in labels that means "not labelled": -1, or the largest that an unsigned type has; None for bool."""
    if dtype.kind == "i":
        return -1
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else None


def inside_mask(mask: np.ndarray, where: object) -> np.ndarray:
    """Where a mask is not 0; it may be of truth values, integers, or floats that are whole numbers.

    Raises WorkFailed naming `where` for fractions, which may mean anything, for NaN, and for what is below 0.
    """
    if mask.dtype.kind in "if":
        clear = (mask >= 0) & (mask == np.rint(mask))
        if not clear.all():
            got = mask[~clear].flat[0]
            raise WorkFailed(
                f"{where}: a mask is 0 outside and a whole number inside, here is {got}; give it as 0 and 1"
            )
    inside: np.ndarray = mask != 0
    return inside


def check_finite(raw: np.ndarray, where: object, begin: Sequence[int]) -> None:
    """Raise WorkFailed naming the first voxel of raw ([C,] z, y, x) that is NaN or infinite.

    begin: the place of its first voxel in the volume. A network makes zeros of such values, without a word.
    """
    if raw.dtype.kind != "f" or np.isfinite(raw).all():
        return
    place = np.argwhere(~np.isfinite(raw))[0][-3:] + np.array(begin)[-len(raw.shape[-3:]) :]
    raise WorkFailed(
        f"{where}: raw holds NaN or infinite values, here first at voxel {[int(at) for at in place]}; replace them and "
        "import it with `contraband import`"
    )


def smallest_unsigned(largest: int) -> str:
    """The smallest unsigned type that holds the numbers from 0 to `largest`."""
    return next(name for name in ("uint8", "uint16", "uint32", "uint64") if largest <= np.iinfo(name).max)
