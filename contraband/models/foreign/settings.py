"""How a network of a file is used: what it wants to be shown, and what its channels mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from blockwise.grid import Voxels
from blockwise.settings import Settings
from contraband.models.normalise import Percentiles

Says = Literal["affinities", "foreground+boundary", "boundary", "embeddings"]
Offset = tuple[int, int, int]
NEAREST: tuple[Offset, ...] = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def _known_axes(text: str) -> str:
    if sorted(text) not in ([*"xyz"], [*"cxyz"], [*"bxyz"], [*"bcxyz"], [*"bcxy"], [*"bxy"]):
        raise ValueError(f"are z, y, x with or without b (batch) and c (channel), or b, y, x for sections; got {text}")
    return text


class Normalisation(Settings):
    """What becomes of raw before the network sees it."""

    percentiles: Percentiles | None = None
    """First these percentiles become 0 and 1; null: raw as it is stored."""
    factor: Annotated[float, Field(gt=0)] = 1.0
    """Then it is multiplied by this, such as 0.00392 for uint8 that the network was shown from 0 to 1."""
    shift: float = 0.0
    """Then this is added."""


class NetworkInput(Settings):
    """What a network of a file is given."""

    axes: Annotated[str, AfterValidator(_known_axes)] = "bczyx"
    """Its axes in their order: `b` batch, `c` channel, z, y, x. Without z, sections are given as a batch."""
    normalise: Normalisation = Normalisation()
    """What becomes of raw before."""


class NetworkUse(Settings):
    """All that tells how a network of a file is used; part of what a prediction is remembered by."""

    engine: str
    """torch, openvino or onnxruntime."""
    precision: str
    context: Voxels
    stride: Voxels
    input: NetworkInput
    says: Says
    """What its channels are."""
    offsets: tuple[Offset, ...]
    """The neighbour each affinity joins a voxel with."""
