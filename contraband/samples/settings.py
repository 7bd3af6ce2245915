"""What is changed at random in a training sample: the augmentations of a param_dict.json."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeFloat, PositiveInt

from blockwise.settings import Settings
from contraband.samples.arithmetic import parse_number


def as_tuple(value: object) -> object:
    """One text as a tuple of one; a list, as JSON gives it, as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Number = Annotated[float, BeforeValidator(parse_number)]
Axes = tuple[Annotated[int, Field(ge=0, le=2)], ...]


def _ascending(interval: tuple[float, float]) -> tuple[float, float]:
    if interval[0] > interval[1]:
        raise ValueError(f"an interval is [least, largest], got {list(interval)}")
    return interval


Factors = Annotated[
    tuple[Annotated[float, Field(ge=0.05, le=20)], Annotated[float, Field(ge=0.05, le=20)]], AfterValidator(_ascending)
]
"""Least and largest factor; a factor is drawn between them, evenly on a logarithmic scale."""


def _with_z(first: float) -> BeforeValidator:
    """Accept (y, x) where (z, y, x) is wanted."""
    return BeforeValidator(lambda v: (first, *v) if isinstance(v, list | tuple) and len(v) == 2 else as_tuple(v))


class ElasticParams(Settings):
    """Random rotation and zoom in the y-x plane and a smooth random displacement."""

    control_point_spacing: Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], _with_z(1)] = (1, 10, 10)
    """Voxels between control points, (z, y, x)."""

    jitter_sigma: Annotated[tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat], _with_z(0.0)] = (0.0, 0.1, 0.1)
    """Standard deviation of a control point's displacement in voxels, (z, y, x)."""

    rotation_interval: tuple[Number, Number] = (0.0, 0.0)
    """The angle is drawn evenly between these, in radians; sums such as "pi / 2" are read."""

    scale_interval: Factors = (1.0, 1.0)
    """Things look this many times as large along y and x; [0.5, 2] halves to doubles their size."""


class BlurParams(Settings):
    """Gaussian blur."""

    sigma: Annotated[tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat], _with_z(0.0)] = (0.0, 1.0, 1.0)
    """Largest width in voxels, (z, y, x); each sample draws a share of it."""


class SimpleParams(Settings):
    """Mirroring and transposing."""

    mirror_only: Axes | None = None
    """Axes (0 = z) that may be mirrored; left out: all."""

    transpose_only: Axes | None = None
    """Axes that may change places, where their extents are equal; left out: all."""


class NoiseParams(Settings):
    """Gaussian noise on the normalised raw data."""

    var: NonNegativeFloat = 1e-6
    """Its variance."""


class IntensityParams(Settings):
    """Brightness and contrast of normalised raw: first gain and gamma, then mean + (raw - mean) * scale + shift."""

    scale: tuple[float, float] = (0.9, 1.1)
    """Contrast around the mean of the sample, drawn evenly."""

    shift: tuple[float, float] = (-0.1, 0.1)
    """Added, drawn evenly."""

    gain: Factors = (1.0, 1.0)
    """Raw times this: below 1 a dimmer image, black stays black."""

    gamma: Factors = (1.0, 1.0)
    """Raw to this power (its size, the sign stays): above 1 the dark gets darker, below 1 brighter."""


class Augmentations(Settings):
    """What is changed at random in a training sample."""

    elastic: bool = False
    """Whether samples are turned, zoomed and bent."""

    elastic_params: ElasticParams = ElasticParams()

    simple: bool = False
    """Whether they are mirrored, and their axes change places."""

    simple_params: SimpleParams = SimpleParams()

    blur: bool = False
    """Whether raw is blurred."""

    blur_params: BlurParams = BlurParams()

    noise: bool = False
    """Whether raw gets noise."""

    noise_params: NoiseParams = NoiseParams()

    intensity: bool = False
    """Whether brightness and contrast change."""

    intensity_params: IntensityParams = IntensityParams()
