"""How much is read and written at addresses, counted in each process and taken over with the blocks it belongs to."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_CHUNK = re.compile(r"/(c/)?\d+([/.]\d+)*$")
"""How the key of a chunk or shard ends, in zarr 3 and 2."""


@dataclass(frozen=True)
class Traffic:
    """Requests to addresses, and the bytes in them: compressed, as they lie there.

    A request that obstore sends again by itself counts once, one that was cut off and asked for again each time.
    """

    read_requests: int = 0
    read_bytes: int = 0
    written_requests: int = 0
    """Those that remove objects are among them."""
    written_bytes: int = 0
    arrays: Mapping[str, int] = field(default_factory=dict)
    """Of the bytes read those of chunks, by the address of their array."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.read_requests + other.read_requests,
            self.read_bytes + other.read_bytes,
            self.written_requests + other.written_requests,
            self.written_bytes + other.written_bytes,
            dict(Counter(self.arrays) + Counter(other.arrays)),
        )


def is_chunk(address: str) -> bool:
    """Whether an object may be a chunk or shard, by its name."""
    return _CHUNK.search(address) is not None


class Meter:
    """Counts the traffic of a process, from any of its threads.

    What has passed belongs to whoever takes it first: of two blocks that run at a time one may get the bytes of the
    other, and none are counted twice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed = Traffic()

    def read(self, size: int = 0, address: str = "") -> None:
        """A request has been answered with so many bytes. address: of the object, if it may be a chunk."""
        found = _CHUNK.search(address)
        self._add(Traffic(1, size, arrays={address[: found.start()]: size} if found else {}))

    def wrote(self, size: int = 0) -> None:
        """A request has written so many bytes, or removed an object."""
        self._add(Traffic(written_requests=1, written_bytes=size))

    def take(self) -> Traffic | None:
        """What has passed since this was last called; None if nothing has."""
        with self._lock:
            taken, self._passed = self._passed, Traffic()
        return taken if taken != Traffic() else None

    def _add(self, more: Traffic) -> None:
        with self._lock:
            self._passed += more


@lru_cache(maxsize=1)
def meter() -> Meter:
    """The one of this process."""
    return Meter()
