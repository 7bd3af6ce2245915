# mypy: allow-untyped-defs
"""How loops are compiled: once for each machine, cached on disk, without the interpreter's lock.

Compiled functions carry no annotations (their types are inferred when they are called); the plain functions
around them do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, cast

import numpy as np
from numba import njit

log = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled on its first call, or loaded from the cache: beside its file, in the user's home or, where
    neither can be written, among temporary files.

    It runs without the interpreter's lock, so that a worker still answers its scheduler. Division by zero
    gives inf, as in numpy.
    """
    dispatcher = njit(nogil=True, error_model="numpy")(function)
    try:
        _keep(dispatcher, function)
    except (RuntimeError, OSError):  # no folder can be written
        _warn_once()
    return cast(Callable[..., Any], dispatcher)


def _keep(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Have compiled code kept on disk, by our cache or by that of numba.

    numba's own takes longer to load, and does not notice a change in the file of a function that is called.
    """
    ours = _our_cache()
    if ours is not None:
        with suppress(AttributeError, TypeError):  # numba has changed in a way that `check_numba` does not look for
            dispatcher._cache = ours(function)
            return
    dispatcher.enable_caching()


@cache
def _our_cache() -> Callable[..., Any] | None:
    """The cache that loads fast; None where numba is not made as that needs it."""
    try:
        from .cached import KernelCache, check_numba

        check_numba()
    except (ImportError, AttributeError, LookupError, TypeError, ValueError) as error:
        log.info("kernels: loaded in numba's own way, as %s", error)
        return None
    return KernelCache


@cache
def _warn_once() -> None:
    """Whoever looks at a slow start should know why."""
    log.warning(
        "kernels: no folder can be written to keep compiled code, so every process compiles it; set NUMBA_CACHE_DIR"
    )


@compiled
def mix64(value):
    """A fixed bijection of 64-bit numbers that scatters neighbours (splitmix64, Steele et al. 2014)."""
    mixed = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
