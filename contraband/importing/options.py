"""What a user says of a file that the file does not say, or says wrongly."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from blockwise.arrays.units import STORED, unit_called
from blockwise.fields import Count, Positive
from blockwise.grid import Voxels
from blockwise.settings import Settings

Size = Annotated[float, Field(gt=0)]


class ImportOptions(Settings):
    """What a file does not say about its array."""

    name: str | None = None
    """The array in a file that holds several."""
    series: Count | None = None
    """The image in a file that holds several series, from 0."""
    level: Count | None = None
    """The level of an image with several resolutions; null: 0, the largest."""
    axes: str | None = None
    """The stored axes, slowest first, such as `zyx`, `xyz`, `yx`, `yxc`, `tczyx`; null: what the file says, else `yx`,
    `zyx`, `czyx` or `tczyx`."""
    time: Count | None = None
    """The time point to take, from 0, where there are several."""
    channel: tuple[Count, ...] | None = None
    """The channels to take, from 0; one alone leaves no channel axis."""
    voxel_size: tuple[Size, Size, Size] | None = None
    """Along z, y, x in `units`; null: what the file says, else 1."""
    offset: tuple[float, float, float] | None = None
    """Place of the corner of the file's first voxel along z, y, x, before `crop`; null: what the file says, else 0."""
    units: Literal["nm", "um", "µm", "mm", "vx"] | None = None
    """Of `voxel_size` and `offset`; null: what the file says, else nm."""
    crop: str | None = None
    """The part to take, in voxels: `z=0:125,y=10:`; also `t=3:4`, `c=0:2`."""
    labels: bool = False
    """The numbers name objects: whole numbers stored as floats become integers, -1 is what nobody has labelled."""
    quantise: bool = False
    """Store affinities in 0..1 as uint8, 255 being 1."""
    boundaries: bool = False
    """Turn boundary probabilities into affinities: 1 - the larger of a voxel's and that of the one before."""
    offsets: tuple[Voxels, ...] | None = None
    """Which voxel each affinity channel looks at; null: what the file says, else the three nearest. Those that look
    ahead are stored as looking back: +d at a voxel is -d at the voxel it looks at."""
    pad: bool = False
    """Images of a folder may have different sizes: each is padded at the ends of y and x up to the largest, by its
    mirror image, labels by 0. The attribute `images` says where each ends."""
    block: tuple[Positive, Positive, Positive] = (64, 128, 128)
    """Voxels of a shard."""

    @field_validator("axes")
    @classmethod
    def known_axes(cls, axes: str | None) -> str | None:
        if axes is not None and (len(set(axes)) < len(axes) or not set("yx") <= set(axes) <= set("tczyx")):
            raise ValueError("axes must name y and x, and z, c and t where they exist, each once: zyx, czyx")
        return axes

    @field_validator("units", mode="before")
    @classmethod
    def however_spelt(cls, units: object) -> object:
        called = unit_called(units)
        return called if called in STORED else units

    @field_validator("channel")
    @classmethod
    def each_once(cls, channel: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if channel is not None and (not channel or len(set(channel)) < len(channel)):
            raise ValueError("channel must name at least one channel, each once: 1 or 0,2")
        return channel

    @property
    def padding(self) -> Literal["mirror", "zero"] | None:
        """How images are padded; None: not at all."""
        return None if not self.pad else "zero" if self.labels else "mirror"

    @model_validator(mode="after")
    def one_conversion(self) -> Self:
        if self.quantise and self.boundaries:
            raise ValueError("quantise and boundaries exclude each other: boundaries are quantised anyway")
        if self.pad and self.crop:
            raise ValueError("pad and crop exclude each other: images are whole, or all of one size")
        if self.labels and (self.quantise or self.boundaries or self.offsets):
            raise ValueError("labels are no affinities: leave out quantise, boundaries and offsets")
        return self
