"""Bytes of chunks read at addresses a moment ago: blocks beside the one they were read for need many of the same.

They are kept for one start of a stage, whose inputs do not change meanwhile, by each process for itself.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from functools import lru_cache

LIMIT_BYTES = 3 << 26
"""Of a process: the compressed chunks around some hundred blocks."""
PAGE_BYTES = 1 << 16
"""A whole object is kept in pages, for of a shard only the chunks at its faces are wanted again."""

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
        """The bytes of a span of an object, if they are kept."""
        with self._lock:
            if (address, span) in self._bytes:
                return self._used(address, span)
            size = self._sizes.get(address)
            if size is None:
                return None
            begin, end, _ = slice(*span).indices(size)
            first = begin // PAGE_BYTES
            pages = [_page(number, size) for number in range(first, -(-end // PAGE_BYTES))]
            if not all((address, page) in self._bytes for page in pages):
                return None
            joined = b"".join(self._used(address, page) for page in pages)
            return joined[begin - first * PAGE_BYTES : end - first * PAGE_BYTES]

    def pieces(self, address: str) -> list[tuple[int, bytes]]:
        """(begin, bytes) of what is kept of an object, rising and without what comes twice; not what is its end."""
        with self._lock:
            spans = [(begin, end) for begin, end in self._spans.get(address, ()) if end is not None]
            found, at = list[tuple[int, bytes]](), 0
            for begin, end in sorted(spans):
                if end > at:
                    found.append((max(begin, at), self._bytes[address, (begin, end)][max(0, at - begin) :]))
                    at = end
            return found

    def put(self, address: str, span: ByteSpan, data: bytes) -> None:
        """Keep the bytes of a span of an object; what was not wanted for the longest time goes for it."""
        with self._lock:
            if not self._token:
                return
            if span == WHOLE:
                self._drop_all(address)
                self._sizes[address] = len(data)
                for begin, end in (_page(number, len(data)) for number in range(-(-len(data) // PAGE_BYTES))):
                    self._add(address, (begin, end), data[begin:end])
            elif (address, span) not in self._bytes:
                self._add(address, span, data)
            while self._size > self._limit:
                self._drop(*next(iter(self._bytes)))

    def drop(self, address: str) -> None:
        """The object is another one now."""
        with self._lock:
            self._drop_all(address)

    def _used(self, address: str, span: ByteSpan) -> bytes:
        self._bytes.move_to_end((address, span))
        return self._bytes[address, span]

    def _add(self, address: str, span: ByteSpan, data: bytes) -> None:
        self._bytes[address, span] = data
        self._spans[address].add(span)
        self._size += len(data)

    def _drop_all(self, address: str) -> None:
        for span in tuple(self._spans.get(address, ())):
            self._drop(address, span)

    def _drop(self, address: str, span: ByteSpan) -> None:
        self._size -= len(self._bytes.pop((address, span)))
        self._spans[address].discard(span)
        if not self._spans[address]:
            del self._spans[address]
            self._sizes.pop(address, None)

    def _clear(self) -> None:
        self._bytes: OrderedDict[tuple[str, ByteSpan], bytes] = OrderedDict()
        self._spans: defaultdict[str, set[ByteSpan]] = defaultdict(set)
        self._sizes: dict[str, int] = {}
        """Of objects that were read whole."""
        self._size = 0


def _page(number: int, size: int) -> tuple[int, int]:
    """Begin and end of a page of an object of this size."""
    return number * PAGE_BYTES, min(size, (number + 1) * PAGE_BYTES)


@lru_cache(maxsize=1)
def recent() -> Recent:
    """The one of this process."""
    return Recent()
