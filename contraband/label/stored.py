"""Embeddings of a volume that are stored already, in the output of `contraband embed` or of a run that made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray

from blockwise.arrays.content import identity
from blockwise.arrays.volume import Volume, is_there, read
from blockwise.errors import BadInput
from blockwise.grid import as_voxels
from contraband.label.image import FeatureImage
from contraband.volumes.output import Output
from contraband.volumes.predict import AS_EVER
from contraband.volumes.result import open_output

TOLERANCE = 5e-3
"""Of the largest value of a voxel: above the rounding of float16, and below that of a network in bfloat16."""
AGAIN = "embed again, or label without them"


def stored_embeddings(output: Path, raw: Volume, image: FeatureImage) -> Callable[[Roi], NDArray[np.float32]]:
    """Gives embeddings (F, z, y, x) of regions from an output: those that the image computes, rounded to float16.

    BadInput if they are not there, not finished, or would not be the same if they were computed now.
    """
    volume = Output(output).embeddings
    if not is_there(volume.path):
        raise BadInput(output, "holds no embeddings", todo="make them with `contraband embed`, or check the path")
    made = open_output(output).made_by("embed")
    told = {key.removeprefix("embed."): value for key, value in made.items() if key.startswith("embed.")}
    if told["weights"] != image.recipe.weights:
        what = "holds embeddings of another encoder, or of other levels of it"
        wanted = str(image.recipe.weights)[:12]
        raise BadInput(output, what, got=told["weights"][:12], wanted=wanted, todo=AGAIN)
    of_raw = next((value for key, value in made.items() if key.startswith("input 0 ")), None)
    if of_raw != identity(raw):
        raise BadInput(output, f"holds embeddings of other raw than {raw.path}, or it has changed since", todo=AGAIN)
    if (otherwise := _otherwise(told, image.channels)) is not None:
        raise BadInput(output, f"holds embeddings that were computed otherwise, {otherwise}", todo=AGAIN)
    _compare(volume, image, output)
    return lambda box: read(volume, box).astype(np.float32)


def _otherwise(told: Mapping[str, Any], channels: tuple[int, ...]) -> str | None:
    """What a run did to embeddings that is not done where one looks."""
    seen = told.get("raw_channels", [])
    if tuple(seen) != channels:
        return f"of the channels {seen} instead of {list(channels)}"
    found = sorted({key.split(".")[0] for key in told} & (AS_EVER.keys() - {"levels", "raw_channels"}))
    return f"with {', '.join(found)}" if found else None


def _compare(volume: Volume, image: FeatureImage, output: Path) -> None:
    """Compute one voxel: the settings do not say in which precision a processor has computed."""
    middle = as_voxels(size // 2 for size in image.shape)
    stored = read(volume, Roi(middle, (1, 1, 1))).reshape(-1).astype(np.float32)
    computed = image.features_at(middle)[-len(stored) :]
    apart = float(np.abs(stored - computed).max() / max(float(np.abs(computed).max()), 1e-6))
    if not apart <= TOLERANCE:
        what = f"holds other embeddings than are computed here, at voxel {list(middle)}"
        raise BadInput(output, what, got=f"{apart:.1%} apart", wanted=f"up to {TOLERANCE:.1%}", todo=AGAIN)
