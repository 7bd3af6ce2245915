"""How many blocks go to a worker at once: decisions only, no clock."""

from __future__ import annotations

TARGET_S = 0.5
"""A batch should take about this long: 100 times what Dask needs for a task, and too short to be missed."""
LIMIT = 128
SLOW_S = 5.0
"""From here on no second batch waits at a worker: the gap between two costs nothing."""


class Batching:
    """Learns how long a block takes. A slow block counts at once, fast ones must come again and again."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def learn(self, seconds: float) -> None:
        """Take one measured block into account."""
        before = seconds if self._seconds is None else self._seconds
        self._seconds = max(seconds, before + 0.1 * (seconds - before))

    def size(self) -> int:
        """Blocks in a batch; 1 as long as nothing is known."""
        if self._seconds is None:
            return 1
        return max(1, min(LIMIT, int(TARGET_S / max(self._seconds, 1e-6))))

    def window(self, slots: int) -> int:
        """Batches that should be out, if workers can process so many at the same time."""
        is_slow = self._seconds is not None and self._seconds > SLOW_S
        return max(1, slots if is_slow else 2 * slots)
