"""Blocks that fail alike, as when an input goes away: the first is said, the others are counted."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass

from blockwise.executor.work import last_line
from blockwise.grid import unpack

log = logging.getLogger(__name__)

EVERY_S = 15.0
"""So often it is said how many there were."""


@dataclass
class _Alike:
    """What has failed alike since it was last said."""

    error: str
    attempts: int = 0


class Failing:
    """What is said of attempts that failed. Each of them stands in the store and in the log of its block."""

    def __init__(self) -> None:
        self._alike: dict[tuple[str, str], _Alike] = {}
        """By stage and kind of error."""
        self._said_s = time.monotonic()

    def say(self, stage: str, key: int, fate: str, error: str) -> None:
        """Say that an attempt failed, or count it where others have failed alike. fate: what comes of the block."""
        kind = (stage, signature(error))
        is_first = kind not in self._alike
        alike = self._alike.setdefault(kind, _Alike(last_line(error)))
        level = logging.WARNING if is_first else logging.INFO
        log.log(level, "%s: block %s failed, %s: %s", stage, unpack(key), fate, last_line(error))
        alike.attempts += not is_first
        if time.monotonic() - self._said_s > EVERY_S:
            self.say_counts()

    def say_counts(self) -> None:
        """Say how many failed alike since this was said last."""
        self._said_s = time.monotonic()
        for (stage, _), alike in self._alike.items():
            if alike.attempts:
                plural = "attempts" if alike.attempts > 1 else "attempt"
                log.warning("%s: %d more %s failed alike: %s", stage, alike.attempts, plural, alike.error)
            alike.attempts = 0


def signature(error: str) -> str:
    """An error without the numbers in it, so that the same fault in two blocks reads the same."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", last_line(error))
