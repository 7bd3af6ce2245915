# mypy: allow-untyped-defs
"""How loops are compiled: once for each machine, cached on disk, without the interpreter's lock.

Compiled functions carry no annotations (their types are inferred when they are called); the plain functions
around them do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numba import njit
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from numba.core.runtime import rtsys


class KernelCache(FunctionCache):
    """numba's cache on disk, loaded without what only the compiler needs, and stale if a file it calls has changed.

    numba readies its whole compiler (0.4 s of CPU time a process, SciPy's linear algebra included) before it loads
    a function that needs none of it; a function that has to be compiled still does that by itself. And numba
    looks at a function's own file only, not at those of the functions it calls.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.files = {function.__code__.co_filename}
        for other in function.__globals__.values():
            if isinstance(other, Dispatcher) and isinstance(other._cache, KernelCache):  # type: ignore[attr-defined]
                self.files |= other._cache.files  # type: ignore[attr-defined]
        self._cache_file._source_stamp = tuple(stamp(name) for name in sorted(self.files))

    def load_overload(self, sig, target_context):
        """The compiled function for a signature; None if it is not cached."""
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def stamp(path: str) -> tuple[str, int, int]:
    """Name, size and time of a file of kernels."""
    found = Path(path).stat()
    return Path(path).name, found.st_size, found.st_mtime_ns


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled on its first call, or loaded from the cache beside its file.

    It runs without the interpreter's lock, so that a worker still answers its scheduler. Division by zero
    gives inf, as in numpy.
    """
    dispatcher = njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = KernelCache(function)
    return cast(Callable[..., Any], dispatcher)


@compiled
def mix64(value):
    """A fixed bijection of 64-bit numbers that scatters neighbours (splitmix64, Steele et al. 2014)."""
    mixed = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
