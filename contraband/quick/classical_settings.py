"""The section `model.classical`: what is looked for in an image where nothing was learned."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blockwise.settings import Settings

Kind = Literal["membranes", "nuclei", "cells"]


class Classical(Settings):
    """What predicts without labels: how bright voxels are, and how brightness curves around them.

    `contraband start` finds these numbers in an image. Of nuclei and cells it also predicts a foreground.
    """

    kind: Kind
    """`nuclei`: round objects; `cells`: objects of any shape; `membranes`: objects that thin lines part."""

    dark: bool
    """Whether the objects, or the membranes, are darker than what is around them."""

    radius: Annotated[float, Field(ge=0.5, le=64)]
    """Of an object, in voxels along y and x; of a membrane half its thickness."""

    dims: Literal[2, 3]
    """2: each section is seen by itself."""

    z_scale: Annotated[float, Field(gt=0, le=4)] = 1.0
    """In 3D, voxels along z as long as one along x: 0.25 where sections are four voxels thick."""

    smooth: Annotated[float, Field(ge=0.3, le=8)] = 1.0
    """Of nuclei and cells: standard deviation in voxels along y and x of the Gaussian that takes the noise away."""

    levels: tuple[float, float] | None = None
    """What becomes 0 and 1 in raw, an object of nuclei and cells ending halfway between them; null: those of each
    section, as far from its threshold by Otsu as the means of its dark and its bright voxels are from each other."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.levels is not None and self.levels[0] >= self.levels[1]:
            raise ValueError(f"levels must ascend, got {list(self.levels)}")
        return self
