"""Bytes of chunks read at addresses a moment ago: blocks beside the one they were read for need many of the same.

They are kept for one start of a stage, whose inputs do not change meanwhile, by each process for itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from functools import lru_cache

LIMIT_BYTES = 1 << 27
"""Of a process: the compressed chunks around some hundred blocks."""

ByteSpan = tuple[int, int | None]
"""Begin and end of bytes of an object, as a slice has them: (0, None) is all, (-n, None) the last n."""
WHOLE: ByteSpan = (0, None)


class Recent:
    """The bytes that were wanted last, up to a limit; none unless a stage has been begun. For several threads."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._lock = threading.Lock()
        self._limit = limit_bytes
        self._token = ""
        self._clear()

    def begin(self, token: str) -> None:
        """Keep what is read from now on, and nothing from before another token; empty: keep nothing."""
        with self._lock:
            if token != self._token:
                self._token = token
                self._clear()

    def get(self, address: str, span: ByteSpan) -> bytes | None:
        """The bytes of a span of an object, if they are kept or within what is."""
        with self._lock:
            for kept, inside in ((span, slice(None)), (WHOLE, slice(*span))):
                if (address, kept) in self._bytes:
                    self._bytes.move_to_end((address, kept))
                    return self._bytes[address, kept][inside]
        return None

    def pieces(self, address: str) -> list[tuple[int, bytes]]:
        """(begin, bytes) of what is kept of an object from its beginning on, rising."""
        with self._lock:
            spans = [(begin, end) for begin, end in self._spans.get(address, ()) if end is not None]
            return [(begin, self._bytes[address, (begin, end)]) for begin, end in sorted(spans)]

    def put(self, address: str, span: ByteSpan, data: bytes) -> None:
        """Keep the bytes of a span of an object; what was not wanted for the longest time goes for it."""
        with self._lock:
            if not self._token or (address, span) in self._bytes:
                return
            if span == WHOLE:
                self._drop_all(address)
            self._bytes[address, span] = data
            self._spans[address].add(span)
            self._size += len(data)
            while self._size > self._limit:
                self._drop(*next(iter(self._bytes)))

    def drop(self, address: str) -> None:
        """The object is another one now."""
        with self._lock:
            self._drop_all(address)

    def _drop_all(self, address: str) -> None:
        for span in tuple(self._spans.get(address, ())):
            self._drop(address, span)

    def _drop(self, address: str, span: ByteSpan) -> None:
        self._size -= len(self._bytes.pop((address, span)))
        self._spans[address].discard(span)
        if not self._spans[address]:
            del self._spans[address]

    def _clear(self) -> None:
        self._bytes: OrderedDict[tuple[str, ByteSpan], bytes] = OrderedDict()
        self._spans: defaultdict[str, set[ByteSpan]] = defaultdict(set)
        self._size = 0


@lru_cache(maxsize=1)
def recent() -> Recent:
    """The one of this process."""
    return Recent()
