"""Networks computed by OpenVINO on a CPU: from its own files, ONNX files, and torch modules that it converts."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput, one_line
from contraband.models.engines.base import check_installed, tells_of_memory
from contraband.models.engines.kept import made_once
from contraband.models.engines.packed import file_or_bytes
from contraband.models.engines.quantised import InputRanges, quantised, watched, widest

HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""What OpenVINO calls the precisions when it is asked for them; integers are in the network."""
_PREAMBLE = ("Exception from", "Check '", "While validating", "FrontEnd API failed", "[", "Summary:")
CAPABILITIES = {"float32": "FP32", "bfloat16": "BF16", "int8": "INT8"}
"""What it calls them among the capabilities of a processor."""


KEPT = "network.xml"
"""The file of a kept network that is read; its weights lie beside it."""
MOST_SHAPES = 2
"""So many are kept compiled: that of tiles, and that of tiles with y and x swapped."""


class OpenVinoEngine:
    """A network in OpenVINO, compiled for each shape that it is asked for; there is one as long as tiles are alike."""

    def __init__(self, make: Callable[[Sequence[int]], Any], precision: str) -> None:
        """make: gives the network of OpenVINO for batches of a shape."""
        self._make = make
        self._precision = precision
        self._compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, C', ...) float32 of a batch (B, C, ...); raises BadInput for a shape that the network does not take."""
        # Copied, as the engine writes the next result into the same memory.
        return np.array(self._results(batch)[0], np.float32)

    def _results(self, batch: NDArray[np.float32]) -> Any:
        if batch.shape not in self._compiled:
            last = list(self._compiled.items())[-(MOST_SHAPES - 1) :]
            self._compiled = dict([*last, (batch.shape, self._compile(batch.shape))])
        return self._compiled[batch.shape](np.ascontiguousarray(batch))

    def _compile(self, shape: Sequence[int]) -> Any:
        options = {
            "INFERENCE_PRECISION_HINT": HINTS[self._precision],
            "INFERENCE_NUM_THREADS": _threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # else all workers of a machine would share its first core
        }
        try:
            return library().compile_model(self._make(shape), "CPU", options)
        except RuntimeError as error:
            if tells_of_memory(error):
                raise
            raise BadInput("network", f"OpenVINO does not take it ({_first_line(error)})", got=list(shape)) from None


class WatchedEngine(OpenVinoEngine):
    """One in float32 that notes between which values its convolutions take their inputs."""

    def __init__(self, make: Callable[[Sequence[int]], Any]) -> None:
        super().__init__(lambda shape: watched(make(shape)), "float32")
        self.ranges: InputRanges | None = None

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        first, *taken = self._results(batch).to_tuple()
        ranges = tuple((float(one.min()), float(one.max())) for one in taken)
        self.ranges = ranges if self.ranges is None else widest(self.ranges, ranges)
        return np.array(first, np.float32)


@cache
def library() -> Any:
    """OpenVINO itself, once in a process and to its end.

    Its CPU plugin gives the thread that loads it a stack for signals, and takes that stack away from whichever thread
    drops the last network: the next signal, as of a child that ended, would then kill the process.
    """
    return _openvino().Core()


def _openvino() -> Any:
    """The package, without the one by which it tells its maker of each conversion unless somebody once declined: that
    asks nobody, writes to the user's home, and forks this process from a thread. It has a stand-in that does nothing.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def read_openvino(path: Path, precision: str) -> OpenVinoEngine:
    """The network of an OpenVINO (.xml) or ONNX (.onnx) file; raises BadInput if it is none or cannot be computed."""
    check_installed("openvino", path)
    try:
        model = library().read_model(file_or_bytes(path))
    except RuntimeError as error:
        raise BadInput(path, f"is no network that OpenVINO reads ({_first_line(error)})") from None

    def make(shape: Sequence[int]) -> Any:
        shaped = model.clone()
        shaped.reshape(list(shape))
        return shaped

    return OpenVinoEngine(make, precision)


@dataclass(frozen=True)
class NetworkFolder:
    """Where a network is kept once it is converted."""

    folder: Path
    digest: str
    """What the network is known by."""

    def place(self, shape: Sequence[int]) -> Path:
        """Of the network for batches of a shape, as this version of OpenVINO converts it."""
        sizes = "x".join(map(str, shape))
        return self.folder / f"{self.digest[:16]}-{sizes}-openvino-{version('openvino')}"


def convert_torch(
    module: Any, kept: NetworkFolder | None = None, precision: str = "float32", ranges: InputRanges = ()
) -> OpenVinoEngine:
    """A torch module in OpenVINO; it is converted for the first tile, which takes seconds.

    kept: where it is kept, in float32, and read from if it is there already; None: nowhere. precision: what it computes
    in, float32, bfloat16 or int8. ranges: of what its convolutions take, for int8.
    """
    make = partial(_made, module, kept)
    if precision == "int8":
        return OpenVinoEngine(lambda shape: quantised(make(shape), ranges), precision)
    return OpenVinoEngine(make, precision)


def watch_torch(module: Any, kept: NetworkFolder | None = None) -> WatchedEngine:
    """The same in float32, to be asked for the ranges of some tiles."""
    return WatchedEngine(partial(_made, module, kept))


def _made(module: Any, kept: NetworkFolder | None, shape: Sequence[int]) -> Any:
    if kept is None:
        return _converted(module, shape)

    def save(folder: Path) -> None:
        _openvino().save_model(_converted(module, shape), folder / KEPT, compress_to_fp16=False)

    return library().read_model(made_once(kept.place(shape), save) / KEPT)


def _converted(module: Any, shape: Sequence[int]) -> Any:
    import torch

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, on how OpenVINO asks it
        return _openvino().convert_model(module, example_input=torch.zeros(*shape), input=[list(shape)])


def computes_in(precision: str) -> bool:
    """Whether the processor has instructions for it, as OpenVINO says."""
    return CAPABILITIES[precision] in library().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def check_precision(precision: str, where: object) -> None:
    """Raise BadInput if the processor has no instructions for it."""
    if not computes_in(precision):
        raise BadInput(where, f"this processor does not compute in {precision}", todo="use float32, or auto")


def _threads() -> int:
    """As many as all compiled code of this process may have; workers are told by the cluster."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) else os.cpu_count() or 1


def _first_line(error: Exception) -> str:
    """What went wrong, without the files and lines of the library."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(_PREAMBLE)]
    return one_line(" ".join(said[:2]) or type(error).__name__)[:160]
