"""What was found out once, and is kept in an attribute of what was made with it, so that it is not found out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from blockwise.arrays.volume import Volume, open_array
from blockwise.settings import Settings


def keep(target: Volume, key: str, fact: object) -> None:
    """Store a fact with what is made, for further runs and the report; None takes away the one that is there."""
    attributes = open_array(target, "r+").attrs
    if fact is not None:
        attributes[key] = fact
    elif key in attributes:
        del attributes[key]


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
