"""What a person looks at: embeddings as colours, and one section of a batch as an image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def principal_colours(embeddings: Tensor) -> Tensor:
    """The three main directions of embeddings (B, C, ...) as red, green, blue (B, 3, ...) in [0, 1].

    Grey is the mean; two standard deviations reach 0 and 1. Directions that do not exist are grey. What shall be
    compared by colour must be given together.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        return _colours(embeddings.detach().float())


def _colours(embeddings: Tensor) -> Tensor:
    # A training that has just run off to infinity still gets its picture: the loss says so, not this.
    embeddings = torch.nan_to_num(embeddings, posinf=0.0, neginf=0.0).clamp(-1e6, 1e6)
    vectors_NC = embeddings.movedim(1, -1).flatten(0, -2)
    vectors_NC = vectors_NC - vectors_NC.mean(0)
    channels = vectors_NC.shape[1]
    spread, directions = torch.linalg.eigh(vectors_NC.T @ vectors_NC / len(vectors_NC))
    order = torch.arange(channels - 1, max(channels - 4, -1), -1, device=spread.device)
    axes = directions[:, order]
    # a direction and its opposite are equally good: the largest component shall be positive
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    deviation = spread[order].clamp(min=0).sqrt()
    exists = deviation > 1e-3 * deviation[0]  # less is rounding
    scaled = (vectors_NC @ (axes * largest.sign())) / torch.where(exists, deviation, torch.inf)
    colours = torch.full((len(vectors_NC), 3), 0.5, device=spread.device)
    colours[:, : len(order)] = (0.5 + scaled / 4).clamp(0, 1)
    return colours.reshape(embeddings.shape[0], *embeddings.shape[2:], 3).movedim(-1, 1)


def sections(pictures: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
    """The middle section of the first sample of every volume (B, C, Z, Y, X), as (3, Y, X) or (1, Y, X) in [0, 1]."""
    found = {}
    for name, values in pictures.items():
        if values.ndim != 5:
            continue  # points have no section
        section = values[0, :, values.shape[2] // 2].astype(np.float32)
        section = section[:3] if len(section) >= 3 else section[:1]
        low, high = float(section.min()), float(section.max())
        found[name] = (section - low) / (high - low) if high > low else section * 0
    return found
