# mypy: allow-untyped-defs
"""How loops are compiled: once for each machine, cached on disk, without the interpreter's lock.

Compiled functions carry no annotations (their types are inferred when they are called); the plain functions
around them do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import njit

from .cached import KernelCache


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
