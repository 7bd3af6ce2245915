"""Values that mean that nothing is known: of labels, and of raw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from blockwise.errors import WorkFailed


def unlabelled(dtype: np.dtype[Any]) -> int | None:
    """The number in labels that means "not labelled": -1, or the largest that an unsigned type has; None for bool."""
    if dtype.kind == "i":
        return -1
    return int(np.iinfo(dtype).max) if dtype.kind == "u" else None


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
