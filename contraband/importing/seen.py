"""What was seen of the numbers while they were copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraband.importing.options import ImportOptions


class Seen:
    """The least and the largest number, and what else a user should know of them."""

    def __init__(self) -> None:
        self.low: float | int | None = None
        self.high: float | int | None = None
        self.is_whole = True
        self.unlabelled = 0

    def add(self, data: np.ndarray) -> None:
        """Take a part of the volume into account, as it is stored."""
        low, high = data.min().item(), data.max().item()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        if data.dtype.kind == "f":
            self.is_whole = self.is_whole and bool((data == np.rint(data)).all())
        nothing = -1 if data.dtype.kind == "i" else np.iinfo(data.dtype).max if data.dtype.kind == "u" else None
        if nothing is not None and nothing in (low, high):
            self.unlabelled += int(np.count_nonzero(data == nothing))

    def words(self, dtype: np.dtype[Any]) -> str:
        """The range of the numbers."""
        return f"{self.low:.6g} to {self.high:.6g}, {dtype}"

    def remarks(self, dtype: np.dtype[Any], options: ImportOptions) -> list[str]:
        """Lines for the user."""
        lines: list[str] = []
        if self.low == self.high:
            lines.append(f"all voxels are {self.low:.6g}")
        elif dtype.kind == "f" and self.is_whole:
            lines.append("all numbers are whole: if they name objects, import them with --labels")
        if options.labels and self.unlabelled:
            lines.append(f"{self.unlabelled} voxels are not labelled")
        return lines
