"""What a network looks like, in the words of the seed's `param_dict.json`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from blockwise.settings import Settings

VoxelShape = Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]
Kernels = tuple[tuple[VoxelShape, ...], ...]


class ModelSettings(Settings):
    """The base encoder, a U-Net with valid convolutions, and the sizes of its two outputs."""

    model: Literal["unet"] = "unet"
    """The kind of network; there is one."""

    in_shape: VoxelShape
    """Training input in voxels: (y, x) for a 2D network, (z, y, x) for a 3D one; refused, with the nearest that fits,
    if pooling leaves a rest."""

    in_channels: PositiveInt = 1
    """Channels of raw."""

    num_fmaps: PositiveInt = 32
    """Feature maps of the first level."""

    fmap_inc_factors: PositiveInt = 2
    """Each level has this many times the maps of the level above."""

    downsample_factors: tuple[VoxelShape, ...] = ()
    """Pooling between levels; left out: three times 2."""

    kernel_size_down: Kernels = ()
    """Kernels of each level on the way down, the bottom included; left out: two of 3."""

    kernel_size_down_repeated: PositiveInt = 1
    """`kernel_size_down` stands so many times one after the other: one level is enough where all are alike."""

    kernel_size_up: Kernels = ()
    """Kernels of each level on the way up; left out: two of 3."""

    kernel_size_up_repeated: PositiveInt = 1
    """The same for `kernel_size_up`."""

    constant_upsample: bool = True
    """Upsample by repetition; otherwise by a transposed convolution."""

    h_channels: PositiveInt | None = None
    """Channels of the embedding `h`; left out: `num_fmaps`."""

    contrastive_out_channels: PositiveInt | None = None
    """Channels of the projection the contrastive loss sees; left out: as `h_channels`."""

    @property
    def dims(self) -> int:
        """2 or 3."""
        return len(self.in_shape)

    @property
    def embedding_channels(self) -> int:
        """Channels of `h`."""
        return self.h_channels or self.num_fmaps

    @property
    def projection_channels(self) -> int:
        """Channels of the projection."""
        return self.contrastive_out_channels or self.embedding_channels

    def channels_of(self, levels: int) -> int:
        """Channels of the `levels` finest decoder levels together; the coarsest there is is the bottom of the U."""
        maps = [self.num_fmaps * int(self.fmap_inc_factors**level) for level in range(1, levels)]
        return self.embedding_channels + sum(maps)

    @property
    def most_levels(self) -> int:
        """Decoder levels there are, the bottom of the U counted."""
        return len(self.factors) + 1

    def check_levels(self, levels: int) -> None:
        """Raise ValueError if there are fewer decoder levels."""
        if levels > self.most_levels:
            raise ValueError(f"levels is {levels}, but the network has {self.most_levels}, the bottom counted")

    @property
    def factors(self) -> tuple[tuple[int, ...], ...]:
        """Pooling factors, one tuple between two levels."""
        return self.downsample_factors or ((2,) * self.dims,) * 3

    @property
    def kernels_down(self) -> Kernels:
        """Kernels of every level on the way down, levels + 1 of them."""
        default: Kernels = (((3,) * self.dims,) * 2,) * (len(self.factors) + 1)
        return self.kernel_size_down * self.kernel_size_down_repeated or default

    @property
    def kernels_up(self) -> Kernels:
        """Kernels of every level on the way up, one less."""
        default: Kernels = (((3,) * self.dims,) * 2,) * len(self.factors)
        return self.kernel_size_up * self.kernel_size_up_repeated or default

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        levels = len(self.factors)
        for name, kernels, wanted in (
            ("kernel_size_down", self.kernels_down, levels + 1),
            ("kernel_size_up", self.kernels_up, levels),
        ):
            if len(kernels) != wanted:
                raise ValueError(
                    f"{name} times its repetition gives {len(kernels)} levels, but {levels} downsample_factors "
                    f"need {wanted}"
                )
            if any(len(kernel) != self.dims for level in kernels for kernel in level):
                raise ValueError(f"{name} and in_shape must have the same number of dimensions ({self.dims})")
            if any(extent % 2 == 0 for level in kernels for kernel in level for extent in kernel):
                raise ValueError(f"{name} must be odd, or the output would lie half a voxel off")
        if any(len(factor) != self.dims for factor in self.factors):
            raise ValueError(f"downsample_factors and in_shape must both have {self.dims} dimensions")
        return self
