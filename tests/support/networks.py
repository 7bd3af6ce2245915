"""A small network that finds dark membranes, as files of several frameworks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
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
    path.write_bytes(_exported_membranes())
    return path


@cache
def _exported_membranes() -> bytes:
    return _exported(Membranes(), torch.zeros(1, 1, 12, 13, 14), (2, 3, 4))


def _exported(network: torch.nn.Module, example: torch.Tensor, free: Sequence[int]) -> bytes:
    """The file of a network. free: the axes along which tiles may have any size."""
    shapes = (dict.fromkeys(free, torch.export.Dim.DYNAMIC),)
    file = io.BytesIO()
    torch.export.save(torch.export.export(network.eval(), (example,), dynamic_shapes=shapes), file)
    return file.getvalue()


def openvino_file(path: Path, source: Path) -> Path:
    """An ONNX file as the two files of OpenVINO."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    openvino.save_model(library().read_model(source), path, compress_to_fp16=False)
    return path


class Differences(torch.nn.Module):
    """Affinities that turn with the image: how alike two voxels are; brightness after them, if foreground is wanted."""

    def __init__(
        self,
        offsets: Sequence[Sequence[int]],
        dims: int = 3,
        has_foreground: bool = False,
        context: Sequence[int] | None = None,
    ) -> None:
        """context: voxels that are looked at on each side; None: no more than the offsets need."""
        super().__init__()
        self.told = (tuple(map(tuple, offsets)), dims, has_foreground, context and tuple(context))
        steps = [tuple(offset[3 - dims :]) for offset in offsets]
        self.context = list(context or [max(abs(step[axis]) for step in steps) for axis in range(dims)])
        # One convolution, as an exported program of many steps takes seconds to be made and to be read; whole numbers
        # are added without rounding.
        kernels = torch.zeros(len(steps), 1, *(2 * lost + 1 for lost in self.context))
        for kernel, step in zip(kernels, steps, strict=True):
            kernel[(0, *self.context)] += 1
            kernel[(0, *(lost + moved for lost, moved in zip(self.context, step, strict=True)))] -= 1
        self.kernels = torch.nn.Parameter(kernels)
        self.has_foreground = has_foreground

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        """(B, K, ...) of raw (B, 1, ...) from 0 to 255, without the context."""
        convolve = torch.conv3d if len(self.context) == 3 else torch.conv2d
        found = 1 - convolve(raw, self.kernels).abs() / 255
        if not self.has_foreground:
            return found
        inner = tuple(slice(lost, -lost or None) for lost in self.context)
        return torch.cat([found, raw[(slice(None), slice(None), *inner)] / 255], dim=1)


def differences_file(path: Path, network: Differences) -> Path:
    """The same as `torch.export` writes it, for tiles of any shape and any number of sections."""
    path.write_bytes(_exported_differences(*network.told))
    return path


@cache
def _exported_differences(
    offsets: Sequence[Sequence[int]], dims: int, has_foreground: bool, context: Sequence[int] | None
) -> bytes:
    network = Differences(offsets, dims, has_foreground, context)
    example = torch.zeros(5 if dims == 2 else 1, 1, *(11, 15, 19)[3 - dims :])
    return _exported(network, example, (2, 3, 4) if dims == 3 else (0, 2, 3))
