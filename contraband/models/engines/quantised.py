"""Convolutions of an OpenVINO network in integers of 8 bits (quantization after training, Jacob et al. 2018).

What a convolution takes is rounded to 256 steps of one range, which was measured on tiles of the volume; its weights to
255 steps, for each channel that it gives. Sums of integers are exact, so neither threads nor blocks change them.
Convolutions of single voxels stay as they are: they cost little, and the last of them decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

InputRanges = tuple[tuple[float, float], ...]
"""The least and the largest value that each convolution takes, in the order of the network."""

GIVEN = {"Convolution": 0, "ConvolutionBackpropData": 1}
"""What is computed in integers, and the axis of its weights for the channels that it gives."""
STEPS, WEIGHT_STEPS = 256, 255


def convolutions(model: Any) -> list[Any]:
    """The nodes that are computed in integers."""
    nodes = (node for node in model.get_ordered_ops() if node.get_type_name() in GIVEN)
    return [node for node in nodes if max(list(node.input(1).get_shape())[2:]) > 1]


def watched(model: Any) -> Any:
    """The same network, which also gives what its convolutions take, after its own result."""
    model.add_outputs([node.input_value(0) for node in convolutions(model)])
    return model


def quantised(model: Any, ranges: InputRanges) -> Any:
    """The same network in integers; ValueError if the ranges are those of another."""
    from openvino import opset13

    for node, (low, high) in zip(convolutions(model), ranges, strict=True):
        taken = opset13.fake_quantize(node.input_value(0), *_ends(low, high), STEPS)
        node.input(0).replace_source_output(taken.output(0))
        weights = node.input_value(1).get_node().get_data()
        others = tuple(axis for axis in range(weights.ndim) if axis != GIVEN[node.get_type_name()])
        most = np.abs(weights).max(axis=others, keepdims=True).astype(np.float32)
        rounded = opset13.fake_quantize(node.input_value(1), -most, most, -most, most, WEIGHT_STEPS)
        node.input(1).replace_source_output(rounded.output(0))
    model.validate_nodes_and_infer_types()
    return model


def _ends(low: float, high: float) -> Sequence[np.float32]:
    """A range around 0 if anything is below it, else one from 0 on; twice, for what is taken and what it becomes."""
    most = np.float32(max(abs(low), abs(high)))
    least = -most if low < 0 else np.float32(0)
    return (least, most, least, most)


def widest(first: InputRanges, second: InputRanges) -> InputRanges:
    """The ranges that hold both."""
    return tuple(
        (min(low, other_low), max(high, other_high))
        for (low, high), (other_low, other_high) in zip(first, second, strict=True)
    )
