"""Upsampling that is part of a convolution: the same values, for fewer products."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from contraband.models.engines.folded import folded
from contraband.models.settings import ModelSettings
from contraband.models.unet import UNet
from tests.support.untrained import like_fib25

SHAPED: dict[str, dict[str, Any]] = {
    "3D": {"in_shape": [40] * 3, "downsample_factors": [[2, 2, 2]] * 2},
    "2D, cropped after it is upsampled": {"in_shape": [96] * 2, "downsample_factors": [[2, 2]] * 3},
    "other factors along each axis, cropped": {"in_shape": [40] * 3, "downsample_factors": [[1, 3, 3], [2, 2, 2]]},
    "other kernels along each axis": {
        "in_shape": [40] * 3,
        "downsample_factors": [[1, 3, 3], [1, 2, 2]],
        "kernel_size_down": [[[1, 3, 3]] * 2, [[3, 3, 3]] * 2, [[3, 3, 3]] * 2],
        "kernel_size_up": [[[1, 3, 3]] * 2, [[5, 3, 1]] * 2],
    },
}


def network(**told: Any) -> UNet:
    """A small U-Net with weights and biases of a seed."""
    torch.manual_seed(0)
    made = UNet(ModelSettings.parse({"num_fmaps": 3, "fmap_inc_factors": 2} | told, "test"))
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return made


@pytest.mark.parametrize("told", SHAPED.values(), ids=SHAPED.keys())
def test_a_folded_network_gives_the_values_of_the_network(told: dict[str, Any]) -> None:
    """All levels of the decoder differ by rounding only, 2D and 3D, whatever factors, kernels and crops there are."""
    plain = network(**told)
    raw = torch.rand(2, 1, *plain.valid_input([2 * step for step in plain.step]))
    with torch.inference_mode():
        wanted, found = plain.decoded(raw, 3), folded(plain).decoded(raw, 3)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one, atol=3e-6, rtol=0)
        assert one.std() > 0.01


def test_folding_saves_a_fifth_of_the_products_of_fib25s_network() -> None:
    """For a tile of 64 voxels, counted."""
    with torch.device("meta"):
        plain = UNet(like_fib25())
        raw = torch.empty(1, 1, *plain.valid_input([64] * 3))
    counted = []
    for one in (plain, folded(plain)):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            one(raw)
        counted.append(counter.get_total_flops())
    assert counted[1] < 0.8 * counted[0]


def test_learnt_upsampling_stays_as_it_is() -> None:
    """A transposed convolution with weights of its own is no repetition."""
    learnt = network(in_shape=[40] * 3, downsample_factors=[[2, 2, 2]], constant_upsample=False)
    assert folded(learnt) is learnt
