"""How a labelling session learns, and what its quick head is shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from blockwise.arrays.volume import Volume, info
from blockwise.fields import Place
from blockwise.settings import Settings
from blockwise.stages.affinity import NEAREST
from contraband.models.normalise import Percentiles
from contraband.quick.features import told_by
from contraband.quick.file import FeatureKind, Recipe
from contraband.quick.fitting import HeadKind
from contraband.quick.gaussian import GaussianFeatures, GaussianScale

SCALES: dict[int, tuple[float, ...]] = {2: (1.0, 2.0, 4.0, 8.0), 3: (1.0, 2.0, 4.0)}


class LabelSettings(Settings):
    """How a session learns."""

    head: HeadKind = "logistic"
    """forest or logistic: the latter is fitted in 10 ms instead of 200, and found more nuclei by the same clicks."""
    scales: Annotated[tuple[GaussianScale, ...], Field(min_length=1)] | None = None
    """Of the Gaussian features, in voxels; None: 1, 2, 4 and in 2D also 8."""
    features: FeatureKind = "gaussian"
    """What it is shown of a voxel."""
    encoder: Place | None = None
    """Where embeddings come from: a checkpoint of an encoder or of a network, or the folder of its checkpoints."""
    stretch: Literal["section", "volume"] | None = None
    """Whether raw is stretched between its percentiles first: of each section, for images that differ in exposure, or
    of the whole volume. All of raw is read for it."""
    seed: int = 0


def recipe_of(raw: Volume | NDArray[Any], dims: int, settings: LabelSettings, channels: int = 1) -> Recipe:
    """What the head will be shown: in 3D, kernels as long in the world along z as along x, where that is known.

    channels: of raw, each of which has features of its own.
    """
    z_scale = 1.0
    if dims == 3 and not isinstance(raw, np.ndarray):
        size = info(raw).voxel_size
        z_scale = min(4.0, size[2] / size[0])
    features = GaussianFeatures(scales=settings.scales or SCALES[dims], z_scale=z_scale)
    percentiles = Percentiles(per=settings.stretch) if settings.stretch else None
    recipe = Recipe(
        dims=2 if dims == 2 else 3,
        channels=channels,
        gaussian=features,
        percentiles=percentiles,
        offsets=NEAREST[3 - dims :],
    )
    if settings.features == "gaussian":
        return recipe
    weights, wanted = told_by(settings.encoder, dims, channels)
    given = {"features": settings.features, "encoder": settings.encoder, "weights": weights}
    return recipe.model_copy(update=given | ({} if settings.stretch else {"percentiles": wanted}))
