"""What a kind of rows is called in the store, and what one row is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from funlib.geometry import Roi

Rows = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Table:
    """A kind of rows that a stage keeps; those of one block, or of one box, lie under one key."""

    kind: str
    """Its name in the store."""
    dtype: np.dtype[Any]
    """What one row is."""
    stage: str
    """The stage with which its rows are forgotten."""

    def check(self, rows: Rows) -> None:
        """Raise TypeError unless these are rows of this table."""
        if rows.dtype != self.dtype:
            raise TypeError(f"rows of {self.kind} must be {self.dtype}, got {rows.dtype}")

    def joined(self, pieces: list[Rows]) -> Rows:
        """Rows of several keys as one array; empty, and of the right type, if there are none."""
        return np.concatenate([np.empty(0, self.dtype), *pieces])


class Entry(NamedTuple):
    """The rows of one key."""

    key: int
    rows: Rows
    region: Roi | None = None
    """The voxels that they are of, where they are asked for by region; None: nowhere."""

    @property
    def bounds(self) -> tuple[int, ...]:
        """Begin and end of the region, (z, y, x, z, y, x); of nowhere, what no region meets."""
        if self.region is None:
            return (0,) * 6
        return tuple(int(value) for value in (*self.region.begin, *self.region.end))
