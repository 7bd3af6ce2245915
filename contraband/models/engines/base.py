"""What all engines have in common."""

from __future__ import annotations

import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput

INSTALLED_BY = {"openvino": 'pip install "contraband[openvino]"', "onnxruntime": "pip install onnxruntime"}

_KINDS = ("amx_int8", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "bf16", "asimd")
"""Instructions that engines choose their kernels by, as Linux calls them; with others, sums may round otherwise."""


class Engine(Protocol):
    """A network as a function. The same batch gives the same bytes, whatever the number of threads."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, C', ...) float32 of a batch (B, C, ...); raises BadInput for a shape that the network does not take."""


def is_installed(engine: str) -> bool:
    """Whether the packages of an engine are here; torch always is."""
    return engine == "torch" or find_spec(engine) is not None


def check_installed(engine: str, where: object) -> None:
    """Raise BadInput, saying how to install it, unless an engine is here."""
    if not is_installed(engine):
        raise BadInput(where, f"needs {engine}, which is not installed", todo=INSTALLED_BY[engine])


@cache
def processor_family() -> str:
    """What the processor is and which instructions it has that change how sums are rounded: `x86_64 avx2`."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    lines = (line.partition(":") for line in text.splitlines())
    flags = next((set(value.split()) for key, _, value in lines if key.strip() in ("flags", "Features")), set())
    return " ".join([platform.machine(), *(kind for kind in _KINDS if kind in flags)])
