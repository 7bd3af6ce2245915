"""How many blocks go to a worker at once, and how many batches: decisions only, no clock."""

from __future__ import annotations

TARGET_S = 0.5
"""A batch should take about this long: 100 times what Dask needs for a task, and too short to be missed."""
LONGEST_S = 60.0
"""A batch of blocks that had better go together takes about this long at most: so much is done again if a worker dies.
"""
LIMIT = 128
"""Blocks in a batch at most."""
SLOW_S = 5.0
"""From here on no second batch waits at a worker: the gap between two costs nothing."""
WINDOW = 2000
"""Batches that are out at most, so that neither scheduler nor driver grows with the volume."""
_TASK_S = 0.001
"""About what Dask needs for a task itself."""
_AMPLE = 1.25
_MARGIN_S = 2.0
"""A block may take so much longer than the longest so far, and its worker ends so much later, at least."""
_LIKELY = 20
"""So many times the longest block so far is still taken for work, not for a block that hangs."""


class Batching:
    """Learns how long a block takes. A slow block counts at once, fast ones must come again and again."""

    def __init__(self, limit: int = LIMIT, together: int = 1) -> None:
        """limit: blocks in a batch at most. together: so many had better be in one, even of slow ones."""
        self._limit = limit
        self._least = together
        self._seconds: float | None = None
        self._longest = 0.0

    def learn(self, seconds: float) -> None:
        """Take one measured block into account."""
        before = seconds if self._seconds is None else self._seconds
        self._seconds = max(seconds, before + 0.1 * (seconds - before))
        self._longest = max(self._longest, seconds)

    @property
    def seconds(self) -> float | None:
        """About how long a block takes; None as long as nothing is known."""
        return self._seconds

    @property
    def longest_s(self) -> float:
        """How long the longest block took so far."""
        return self._longest

    def needed_s(self) -> float:
        """Seconds that a worker must still have before it begins a block; 0 as long as nothing is known."""
        return _AMPLE * self._longest + _MARGIN_S if self._longest else 0.0

    def size(self) -> int:
        """Blocks in a batch; 1 as long as nothing is known."""
        if self._seconds is None:
            return 1
        seconds = max(self._seconds, 1e-6)
        wanted = max(int(TARGET_S / seconds), min(self._least, int(LONGEST_S / seconds)))
        return max(1, min(self._limit, wanted))

    def window(self, slots: int) -> int:
        """Batches that should be out, if workers can process so many at the same time.

        Two for each, or one of slow blocks; more if batches are so short that workers would wait for the driver.
        """
        if self._seconds is None:
            return 2 * max(1, slots)
        deep = int(TARGET_S / (self.size() * self._seconds + _TASK_S))
        return min(max(1, slots) * max(1 if self._seconds > SLOW_S else 2, deep), max(WINDOW, slots))

    def deadline_s(self, least_s: float | None) -> float | None:
        """Seconds after which a block is taken to hang: the given ones, or more if blocks take long; None: never."""
        return None if least_s is None else max(least_s, _LIKELY * self._longest)
