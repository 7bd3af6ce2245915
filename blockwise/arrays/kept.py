"""What was found out once, and is kept in an attribute of what was made with it, so that it is not found out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from blockwise.settings import Settings


class StoredFact(Settings):
    """A fact, and what it holds for."""

    measured: str
    """What it was found out of, with all that tells whether that has changed."""

    @classmethod
    def kept(cls, stored: object, measured: str, where: str) -> Self | None:
        """The one that is stored, if it holds for just this."""
        if not isinstance(stored, Mapping) or stored.get("measured") != measured:
            return None
        return cls.parse(stored, where)
