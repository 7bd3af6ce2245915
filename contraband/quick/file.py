"""A quick head on disk: arrays and text in one .npz, without a pickle, so that reading one runs nothing.

The file also says what the head is shown of an image, so it is all that a run needs: `model: {head: FILE}`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import PositiveInt

from blockwise.errors import BadInput
from blockwise.fields import Place
from blockwise.files.whole import write_whole
from blockwise.grid import Voxels
from blockwise.settings import Settings
from blockwise.stages.affinity import NEAREST
from contraband.models.normalise import Percentiles
from contraband.quick.forest import Forest
from contraband.quick.gaussian import GaussianFeatures
from contraband.quick.head import QuickHead
from contraband.quick.logistic import Logistic

FORMAT = 1
FeatureKind = Literal["gaussian", "embeddings", "both"]
KINDS: dict[str, type[QuickHead]] = {Forest.kind: Forest, Logistic.kind: Logistic}


class Recipe(Settings):
    """What a quick head is shown, and what is made of what it says."""

    dims: Literal[2, 3]
    """2: each section is seen by itself."""
    channels: PositiveInt = 1
    """Channels of raw that it is shown, each with features of its own."""
    features: FeatureKind = "gaussian"
    """Gaussian ones, embeddings of an encoder, or both."""
    gaussian: GaussianFeatures = GaussianFeatures()
    """Which Gaussian ones."""
    encoder: Place | None = None
    """The checkpoint of the encoder, or the folder of its checkpoints."""
    weights: str | None = None
    """sha256 of the encoder's weights; another one is refused."""
    percentiles: Percentiles | None = None
    """How raw is stretched first; None: not at all."""
    offsets: tuple[Voxels, ...] = NEAREST
    """Affinities with these neighbours, in voxels along z, y, x."""

    def told(self, *, with_place: bool = True) -> dict[str, Any]:
        """Plain data, without keys of embeddings or channels where there are none: files of heads stay as they were.

        with_place: also where the encoder lies, which changes nothing of what is predicted.
        """
        unused = {"features", "encoder", "weights"} if self.features == "gaussian" else set()
        unused |= {"channels"} if self.channels == 1 else set()
        return self.model_dump(mode="json", exclude=unused | (set() if with_place else {"encoder"}))


def save_head(path: Path, head: QuickHead, recipe: Recipe) -> None:
    """Write head and recipe; the file is whole or not there."""
    told = {"format": FORMAT, "kind": head.kind, "recipe": recipe.told()}
    text = np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, about=text, **head.arrays()))


def load_head(path: Path) -> tuple[QuickHead, Recipe]:
    """What `save_head` wrote; BadInput if the file holds something else."""
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        told = json.loads(arrays.pop("about").tobytes())
        if told["format"] != FORMAT:
            raise BadInput(path, "is of another version", got=told["format"], wanted=FORMAT)
        recipe = Recipe.parse(told["recipe"], path)
        head = KINDS[told["kind"]].of_arrays(arrays)
    except FileNotFoundError:
        raise BadInput(path, "no such head", todo="make one with `contraband label`, or check the path") from None
    except BadInput:
        raise
    except Exception as error:  # a broken file fails in many ways: zip, header, JSON, shapes
        raise BadInput(path, f"is not a quick head ({type(error).__name__})") from None
    if recipe.features == "gaussian":
        check_features(path, head, recipe.gaussian.count(recipe.dims) * recipe.channels)
    return head, recipe


def check_features(path: Path, head: QuickHead, count: int) -> None:
    """Raise BadInput unless a head is one of so many features."""
    if head.features != count:
        raise BadInput(path, "does not fit its features", got=head.features, wanted=count)


def fingerprint(head: QuickHead, recipe: Recipe) -> str:
    """sha256 of all that changes what is predicted."""
    digest = hashlib.sha256(json.dumps([head.kind, recipe.told(with_place=False)], sort_keys=True).encode())
    for name, array in sorted(head.arrays().items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
