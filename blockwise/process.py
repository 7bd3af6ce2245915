"""What a process that works on blocks sets for itself, once."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 128 << 20
"""So much freed memory stays with the process."""
SEPARATE_BYTES = 32 << 20
"""Larger arrays are asked from the system one by one; glibc allows no larger number."""


@cache
def settle() -> None:
    """Keep freed memory for the next block, and leave what was imported out of garbage collection.

    By itself the C library (and Dask, which makes it worse) gives every large array back to the system, which
    then has to clear its pages anew for the next block: a third of the time of a block.
    """
    gc.freeze()
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl does not
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, SEPARATE_BYTES)
