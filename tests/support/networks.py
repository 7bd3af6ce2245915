"""A small network that finds dark membranes, as files of several frameworks."""

from __future__ import annotations

from collections.abc import Sequence
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


class Differences(torch.nn.Module):
    """Affinities that turn with the image: how alike two voxels are; brightness after them, if foreground is wanted."""

    def __init__(self, offsets: Sequence[Sequence[int]], dims: int = 3, has_foreground: bool = False) -> None:
        super().__init__()
        self.offsets = [offset[3 - dims :] for offset in offsets]
        self.context = [max(abs(offset[axis]) for offset in self.offsets) for axis in range(dims)]
        self.has_foreground = has_foreground

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """(B, K, ...) of raw (B, 1, ...) from 0 to 255, without the context."""
        here = self._moved(raw, [0] * len(self.context))
        found = [1 - (here - self._moved(raw, offset)).abs() / 255 for offset in self.offsets]
        return torch.cat([*found, *([here / 255] if self.has_foreground else [])], dim=1)

    def _moved(self, raw: torch.Tensor, offset: Sequence[int]) -> torch.Tensor:
        for axis, (step, lost) in enumerate(zip(offset, self.context, strict=True), start=2):
            raw = raw.narrow(axis, lost + step, raw.shape[axis] - 2 * lost)
        return raw


def differences_file(path: Path, network: Differences) -> Path:
    """The same as `torch.export` writes it, for tiles of any shape and any number of sections."""
    dims = len(network.context)
    example = torch.zeros(5 if dims == 2 else 1, 1, *(11, 15, 19)[3 - dims :])
    free = {axis: torch.export.Dim.DYNAMIC for axis in range(2 if dims == 3 else 0, dims + 2) if axis != 1}
    torch.export.save(torch.export.export(network.eval(), (example,), dynamic_shapes=(free,)), path)
    return path
