"""Checkpoints: one file with everything that is needed to predict, or to train on as if nothing had happened.

Written beside its place, flushed to disk and renamed, so that a checkpoint is whole or not there. Holds tensors
and plain values only and is read with `weights_only=True`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from blockwise.errors import BadInput
from blockwise.files import write_whole
from blockwise.locks import only_one
from contraband.models.folder import RunFolder

FORMAT = 1

Kind = Literal["contrastive", "segmentation"]

_KEYS = {
    "kind",
    "model",
    "head",
    "offsets",
    "norm_factor",
    "step",
    "network",
    "ema",
    "optimizer",
    "seed",
    "settings_hash",
    "history",
}


def save_checkpoint(folder: RunFolder, content: Mapping[str, Any], keep: int | None) -> Path:
    """Write checkpoint and history of a training; keep only the newest `keep` checkpoints (None: all)."""
    path = folder.checkpoint(int(content["step"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: torch.save({"format": FORMAT, **content}, file))
    history = content["history"].numpy()
    write_whole(folder.history, lambda file: np.save(file, history, allow_pickle=False))
    for step in folder.saved_steps()[: -keep if keep else None] if keep else []:
        folder.checkpoint(step).unlink(missing_ok=True)
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file, on the CPU; BadInput if it is none."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadInput(path, "no such checkpoint") from None
    except Exception as error:  # a broken file fails in many ways: zip, pickle, length
        raise BadInput(path, f"is not a checkpoint of this project ({type(error).__name__})") from None
    if not isinstance(content, dict) or not set(content) >= _KEYS or content.get("format") != FORMAT:
        raise BadInput(path, "is not a checkpoint of this project", todo="train again, or check the path")
    return content


def check_same_settings(content: Mapping[str, Any], settings_hash: str, kind: Kind, path: Path) -> None:
    """Raise BadInput if a checkpoint is of another kind or was trained with other settings."""
    if content["kind"] != kind:
        raise BadInput(path, "is of another kind", got=content["kind"], wanted=kind)
    if content["settings_hash"] != settings_hash:
        raise BadInput(
            path,
            "was trained with other settings",
            got=content["settings_hash"],
            wanted=settings_hash,
            todo="undo the change in param_dict.json, or start a new experiment",
        )


def latest_checkpoint(path: Path) -> Path:
    """The path itself, or the newest checkpoint of a folder of checkpoints or of a training."""
    if path.is_file():
        return path
    for folder in (RunFolder(path.parent), RunFolder(path)):
        steps = folder.saved_steps() if path in (folder.checkpoints, folder.path) else []
        if steps:
            return folder.checkpoint(steps[-1])
    raise BadInput(path, "holds no checkpoint", todo="train first, or check the path")


def averaged(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights to evaluate: the moving average."""
    weights: dict[str, Tensor] = content["ema"]
    return weights


@contextmanager
def only_trainer(folder: RunFolder) -> Iterator[None]:
    """Hold the training's folder; BadInput if another process trains in it.

    A killed process holds nothing, nor do its loader processes, which live on for some seconds.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with only_one(folder.path / ".lock", folder.path, "is being trained by another process"):
        yield
