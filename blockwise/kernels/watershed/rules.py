"""What the watershed follows: which voxels are linked, and which are background."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from blockwise.fields import Fraction
from blockwise.settings import Settings


class WatershedRules(Settings):
    """What makes two voxels one fragment; affinities are fractions of the full value of their type."""

    per_section: bool | None = None
    """Sections are segmented on their own, without neighbours along z: for 2D and strongly anisotropic data. null: if
    there are no affinities along z, as those of a 2D network."""

    smooth: Annotated[float, Field(ge=0, le=4)] = 0.5
    """Standard deviation of the Gaussian that smooths the heights, in voxels; 0: none."""

    affinity_weight: Fraction = 0.5
    """How much of the affinity with a higher neighbour is added to its height when a voxel chooses where to climb; at
    0, a voxel beside a membrane that is one voxel thin climbs to either side."""

    dip: Fraction = 0.05
    """A peak is joined with a higher one two steps away, if the voxel between is at most this fraction of the highest
    height lower; 0: never."""

    low: Fraction = 0.0
    """Voxels joined by a smaller affinity are never linked."""

    cap: Fraction | None = 0.97
    """Heights from this fraction of the highest on are equal, and such neighbours are one fragment; null keeps every
    plateau apart."""

    background: Fraction | None = None
    """Voxels whose largest affinity with a nearest neighbour is at most this are background; null: none are."""
