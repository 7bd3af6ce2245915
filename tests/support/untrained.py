"""Checkpoints of networks that have learnt nothing: what they cost is what trained ones cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from contraband.models.networks import SegmentationNet
from contraband.models.settings import ModelSettings

NEAREST = [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]


def like_fib25(maps: int = 16) -> ModelSettings:
    """The network of experiments/fib25, or one with fewer maps."""
    told = {"in_shape": [84, 84, 84], "num_fmaps": maps, "fmap_inc_factors": 3, "downsample_factors": [[2, 2, 2]] * 2}
    return ModelSettings.parse(told, "fib25")


def store_untrained(path: Path, model: ModelSettings, head: Mapping[str, Any] | None = None, seed: int = 0) -> None:
    """A checkpoint with the weights of a seed.

    head: what is not as in a network of affinities of the nearest neighbours.
    """
    offsets = NEAREST[3 - model.dims :]
    plain = {"seg_head": "Simple", "out_channels": len(offsets), "levels": 1, "says": "affinities", "foreground": False}
    used = plain | dict(head or {})
    torch.manual_seed(seed)
    network = SegmentationNet(model, used["seg_head"], used["out_channels"])
    content = {
        "format": 1,
        "kind": "segmentation",
        "model": model.model_dump(mode="json"),
        "head": used,
        "offsets": offsets,
        "norm_factor": 1 / 255,
        "step": 1,
        "ema": {name: value.detach() for name, value in network.named_parameters()},
    }
    unused = {"network": {}, "optimizer": {}, "seed": 0, "settings_hash": "", "history": torch.zeros(1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content | unused, path)
