"""The contrastive loss as the original has it: one matrix of similarities, then a loop over points."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def loop_nt_xent(first_PC: Tensor, second_PC: Tensor, temperature: float) -> Tensor:
    """NT-Xent of P pairs of points, both directions of each pair added one pair after the other.

    Exponentials are taken without subtracting the largest, so float32 overflows at temperatures below 0.012.
    """
    count = len(first_PC)
    z_NC = functional.normalize(torch.cat([first_PC, second_PC]), dim=1)
    weight_NN = torch.exp(z_NC @ z_NC.T / temperature)
    total_N = weight_NN.sum(1) - math.exp(1 / temperature)  # a view is not its own negative
    loss = z_NC.new_zeros(())
    for here in range(count):
        there = here + count
        shared = weight_NN[here, there]
        loss = loss - torch.log(shared / total_N[here]) - torch.log(shared / total_N[there])
    return loss / (2 * count)
