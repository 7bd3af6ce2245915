"""What a process that works on blocks sets for itself, once."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 64 << 20
"""So much freed memory stays with the process."""
SEPARATE_BYTES = 32 << 20
"""Larger arrays are asked from the system one by one; glibc allows no larger number."""


@cache
def enter(stage: str) -> None:  # noqa: ARG001 - once for each stage
    """Get ready for a stage: give back what the stage before has left, then keep what is freed for the next block."""
    settle()
    trim = _of_c_library("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def settle() -> None:
    """Keep freed memory for the next block, and leave what was imported out of garbage collection.

    By itself the C library (and Dask, which makes it worse) gives every large array back to the system, which
    then has to clear its pages again for the next block: a third of the time of a block.
    """
    gc.freeze()
    option = _of_c_library("mallopt")
    if option is not None:
        option(_M_TRIM_THRESHOLD, KEPT_BYTES)
        option(_M_MMAP_THRESHOLD, SEPARATE_BYTES)


def _of_c_library(name: str) -> Callable[..., int] | None:
    """A function of glibc; None with other C libraries, which have none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
