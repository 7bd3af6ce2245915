"""Random blur, brightness, contrast and noise of batched raw volumes; each sample draws from its own seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from contraband.samples.settings import Augmentations, IntensityParams


def change_intensities(raw: Tensor, settings: Augmentations, seeds: Sequence[int], view: int = 0) -> Tensor:
    """Raw (B, C, Z, Y, X) with the changes that are switched on; without any, the very same tensor."""
    if not (settings.blur or settings.intensity or settings.noise):
        return raw
    pairs = zip(raw, seeds, strict=True)
    return torch.stack([_change(sample, settings, np.random.default_rng([seed, view, 2])) for sample, seed in pairs])


def _change(raw: Tensor, settings: Augmentations, random: np.random.Generator) -> Tensor:
    """One sample (C, Z, Y, X)."""
    share = random.random()
    scale = random.random()
    shift = random.random()
    noise_seed = random.integers(2**62)
    if settings.blur:
        raw = gaussian(raw, [share * sigma for sigma in settings.blur_params.sigma])
    if settings.intensity:
        params = settings.intensity_params
        raw = _brightened(raw, params, random)
        middle = raw.mean()
        raw = middle + (raw - middle) * _between(params.scale, scale) + _between(params.shift, shift)
    if settings.noise:
        generator = torch.Generator(raw.device).manual_seed(int(noise_seed))
        noise = torch.randn(raw.shape, generator=generator, device=raw.device, dtype=raw.dtype)
        raw = raw + noise * math.sqrt(settings.noise_params.var)
    return raw


def _brightened(raw: Tensor, params: IntensityParams, random: np.random.Generator) -> Tensor:
    """Gain and gamma, drawn evenly on a logarithmic scale."""
    if params.gain != (1.0, 1.0):
        raw = raw * _between_logs(params.gain, random.random())
    if params.gamma != (1.0, 1.0):
        raw = raw.sign() * raw.abs() ** _between_logs(params.gamma, random.random())
    return raw


def gaussian(raw: Tensor, sigma_vx: Sequence[float]) -> Tensor:
    """Blur (C, Z, Y, X) along z, y and x, cut off at three widths; edges are repeated."""
    blurred = raw[:, None]
    for axis, sigma in enumerate(sigma_vx):
        radius = math.ceil(3 * sigma)
        if sigma < 0.05:
            continue  # narrower than what moves any value
        offsets = torch.arange(-radius, radius + 1, device=raw.device, dtype=raw.dtype)
        kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(offsets)
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        padded = functional.pad(blurred, padding, mode="replicate")
        blurred = functional.conv3d(padded, (kernel / kernel.sum()).reshape(shape))
    return blurred[:, 0]


def _between(interval: tuple[float, float], share: float) -> float:
    return interval[0] + (interval[1] - interval[0]) * share


def _between_logs(interval: tuple[float, float], share: float) -> float:
    return math.exp(_between((math.log(interval[0]), math.log(interval[1])), share))
