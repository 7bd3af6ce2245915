"""Checkpoints: one file with everything that is needed to predict, or to train on as if nothing had happened.

Written beside its place, flushed to disk and renamed, so that a checkpoint is whole or not there. Holds tensors
and plain values only and is read with `weights_only=True`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blockwise.errors import BadInput
from blockwise.files.locks import only_one
from blockwise.files.whole import write_whole
from blockwise.settings import shortened
from contraband.models.folder import RunFolder

FORMAT = 1

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
    strange = [key for key, is_sound in _SOUND.items() if not is_sound(content[key])]
    if strange:
        raise BadInput(path, f"is a damaged checkpoint: {', '.join(strange)}", todo="copy it again, or train again")
    return content


def _is_offsets(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(one, list | tuple) and len(one) == 3 and all(isinstance(step, int) for step in one) for one in value
    )


_SOUND: dict[str, Callable[[Any], bool]] = {
    "model": lambda value: isinstance(value, dict),
    "head": lambda value: isinstance(value, dict),
    "ema": lambda value: isinstance(value, Mapping) and all(isinstance(one, Tensor) for one in value.values()),
    "offsets": _is_offsets,
    "norm_factor": lambda value: isinstance(value, int | float) and math.isfinite(value),
}
"""What a prediction reads, and how it is told that it can be read."""


def keep_for_prediction(source: Path, target: Path) -> None:
    """Copy a checkpoint without what only a training needs: a fifth of its size."""
    content = load_checkpoint(source) | {"optimizer": {}, "network": {}}
    write_whole(target, lambda file: torch.save(content, file))


def check_same_settings(content: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Raise BadInput, naming what differs, if a checkpoint is of another kind or was trained with other settings.

    wanted: kind, settings_hash and settings (values by `section.key`) of the training that would go on; may hold more.
    """
    if content["kind"] != wanted["kind"]:
        raise BadInput(path, "is of another kind", got=content["kind"], wanted=wanted["kind"])
    if content["settings_hash"] != wanted["settings_hash"]:
        raise BadInput(
            path,
            f"was trained with other settings: {_differences(content, wanted)}",
            todo="undo the change in param_dict.json, or start a new experiment",
        )


def _differences(content: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What was and is now, key by key."""
    old, new = _named(content), _named(wanted)
    if "settings" not in content:  # it knows some only; none of those that are new since is told of
        new = {key: value for key, value in new.items() if key in old}
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    texts = [f"{key} was {shortened(str(old.get(key)))} and is {shortened(str(new.get(key)))}" for key in changed]
    return ", ".join(texts[:5]) or "which, it does not say; they are not those of model, offsets, normalisation or seed"


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by `section.key`; of a checkpoint that does not hold them, what else it tells of them."""
    if "settings" in content:
        return dict(content["settings"])
    section = "seg" if content["kind"] == "segmentation" else "contrastive"
    model = {f"model.{key}": value for key, value in content.get("model", {}).items()}
    return {**model, f"{section}.seed": content.get("seed")}


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
