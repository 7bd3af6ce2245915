"""What all engines have in common."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput

INSTALLED_BY = {"openvino": 'pip install "contraband[openvino]"', "onnxruntime": "pip install onnxruntime"}


IN_VAIN = re.compile(r"out of memory|can(?:'t|not| not) allocate|failed to allocate|bad.alloc", re.IGNORECASE)
"""What programs say when they ask for memory in vain, of a GPU or of the processor; few have an error of its own."""


class Engine(Protocol):
    """A network as a function. The same batch gives the same bytes, whatever the number of threads."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, C', ...) float32 of a batch (B, C, ...).

        Raises BadInput for a shape that the network does not take, and an error that `tells_of_memory` for one for
        which the memory does not suffice.
        """


def tells_of_memory(error: Exception) -> bool:
    """Whether it says that memory was asked for in vain."""
    return isinstance(error, MemoryError) or IN_VAIN.search(str(error)) is not None


def is_installed(engine: str) -> bool:
    """Whether the packages of an engine are here; torch always is."""
    return engine == "torch" or find_spec(engine) is not None


def check_installed(engine: str, where: object) -> None:
    """Raise BadInput, saying how to install it, unless an engine is here."""
    if not is_installed(engine):
        raise BadInput(where, f"needs {engine}, which is not installed", todo=INSTALLED_BY[engine])
