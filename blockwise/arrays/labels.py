"""Labels of any type as the numbers of objects."""

from __future__ import annotations

import numpy as np

from blockwise.errors import BadInput

KINDS = "buif"
"""Kinds of numpy's types that can name objects: truth values, integers, and floats that are whole numbers."""


def as_ids(labels: np.ndarray, where: object) -> np.ndarray:
    """The same as uint64; raises BadInput naming `where` if they are floats and not all whole numbers."""
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels) & (labels == np.rint(labels)) & (labels >= 0)
        if not whole.all():
            got = labels[~whole].flat[0]
            raise BadInput(where, "labels are no whole numbers", got=got, wanted="such as 7", todo="give other labels")
    ids: np.ndarray = labels.astype(np.uint64)
    return ids
