"""What else an encoder learns while labels are learnt."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from blockwise.fields import PlaceText
from blockwise.settings import Settings


class DenoiseSettings(Settings):
    """Voxels are replaced by a neighbour, and the network tells what was there."""

    share: Annotated[float, Field(gt=0, le=0.5)] = 0.02
    """Of the voxels of a sample, how many are replaced."""

    radius: PositiveInt = 2
    """The neighbour lies at most so many voxels away along each axis."""

    weight: PositiveFloat = 0.5
    """Of this loss beside that of the labels, at first; it falls evenly to a fifth over the training."""


class UnlabelledVolume(Settings):
    """Raw that nobody has to label."""

    file: PlaceText
    """A zarr container."""

    dataset: str
    """Raw inside it."""


class JointSettings(Settings):
    """Learning from unlabelled samples in the same steps as from labels: to each labelled sample comes one without."""

    denoise: DenoiseSettings = DenoiseSettings()
    """In all samples, labelled or not."""

    unlabelled: tuple[UnlabelledVolume, ...] = ()
    """Volumes that unlabelled samples come from, in proportion to their size; none: the raw of `data_file`."""
