"""Networks of ONNX files computed by onnxruntime on a CPU."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockwise.errors import BadInput, one_line
from contraband.models.engines.base import check_installed, tells_of_memory
from contraband.models.engines.packed import file_or_bytes


class OnnxEngine:
    """The network of a session of onnxruntime, in float32."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._name = session.get_inputs()[0].name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, C', ...) float32 of a batch (B, C, ...); raises BadInput for a shape that the network does not take."""
        try:
            found = self._session.run(None, {self._name: np.ascontiguousarray(batch)})[0]
        except Exception as error:  # onnxruntime has classes of its own, without a common base
            if tells_of_memory(error):
                raise MemoryError(_said(error)) from None
            raise BadInput("network", f"onnxruntime does not take it ({_said(error)})", got=list(batch.shape)) from None
        return np.asarray(found, np.float32)


def load_onnx(path: Path) -> OnnxEngine:
    """The network of an .onnx file; raises BadInput if it is none, or has an operator that is not known."""
    check_installed("onnxruntime", path)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    told = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(told) if told.isdigit() else 0
    options.log_severity_level = 4  # what goes wrong is raised, too
    try:
        source = file_or_bytes(path)
        return OnnxEngine(onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"]))
    except Exception as error:
        raise BadInput(path, f"is no network that onnxruntime reads ({_said(error)})") from None


def _said(error: Exception) -> str:
    """The end of what onnxruntime says, after its codes and the path of the file."""
    text = one_line(str(error))
    return re.split(r"failed:|Status Message:|INVALID_\w+ : ", text)[-1].strip()[:160]
