"""A small network that finds dark membranes, as files of several frameworks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from contraband.models.engines.openvino import library

SCALE, BRIGHT = 0.05, 90.0
"""The probability of a boundary is sigmoid(SCALE * (BRIGHT - mean of 3x3x3 voxels))."""


def onnx_file(path: Path, channels: int = 1, operator: str = "Conv", pads: int = 0) -> Path:
    """Made with onnx alone. operator: also one that nobody knows, or a normalisation over the tile."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    helper, numpy_helper, real = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    weights = np.full((channels, 1, 3, 3, 3), -SCALE / 27, np.float32)
    bias = np.full(channels, SCALE * BRIGHT, np.float32)
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    first = "Conv" if operator == "InstanceNormalization" else operator
    nodes = [helper.make_node(first, ["raw", "weights", "bias"], ["said"], pads=[pads] * 6)]
    last = "said"
    if operator == "InstanceNormalization":
        nodes.append(helper.make_node(operator, ["said", "ones", "zeros"], ["even"]))
        last = "even"
    nodes.append(helper.make_node("Sigmoid", [last], ["boundary"]))
    free = ["b", 1, "z", "y", "x"]
    graph = helper.make_graph(
        nodes,
        "membranes",
        [helper.make_tensor_value_info("raw", real, free)],
        [helper.make_tensor_value_info("boundary", real, ["b", channels, "z2", "y2", "x2"])],
        [
            numpy_helper.from_array(value, name)
            for name, value in (("weights", weights), ("bias", bias), ("ones", ones), ("zeros", zeros))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


class Membranes(torch.nn.Module):
    """The same for torch."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv3d(1, 1, 3)
        self.convolution.weight.data[:] = -SCALE / 27
        self.convolution.bias.data[:] = SCALE * BRIGHT  # type: ignore[union-attr]

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """Probabilities of a boundary (B, 1, ...) of raw (B, 1, ...)."""
        return self.convolution(raw).sigmoid()


def exported_file(path: Path) -> Path:
    """As `torch.export` writes it, for tiles of any shape."""
    free = dict.fromkeys((2, 3, 4), torch.export.Dim.DYNAMIC)
    program = torch.export.export(Membranes().eval(), (torch.zeros(1, 1, 12, 13, 14),), dynamic_shapes=(free,))
    torch.export.save(program, path)
    return path


def openvino_file(path: Path, source: Path) -> Path:
    """An ONNX file as the two files of OpenVINO."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    openvino.save_model(library().read_model(source), path, compress_to_fp16=False)
    return path
