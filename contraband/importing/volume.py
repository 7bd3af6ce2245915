"""Files of other programs -> zarr v3 volumes: `contraband import`, slab by slab and all or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from blockwise.arrays.content import checksum
from blockwise.arrays.info import SPATIAL, Info
from blockwise.arrays.volume import Volume, create, info, open_array
from blockwise.errors import BadInput
from blockwise.files.whole import staging
from blockwise.grid import Voxels
from blockwise.settings import Settings
from blockwise.stages.affinity import NEAREST
from contraband.importing.conversion import FROM_BOUNDARIES, KEEP, QUANTISE, Conversion
from contraband.importing.formats import ForeignArray, open_foreign
from contraband.importing.staging import check_target, publish

USUAL_AXES = {2: "yx", 3: "zyx", 4: "czyx"}
MAX_CHANNELS = 64

Size = Annotated[float, Field(gt=0)]
Positive = Annotated[int, Field(gt=0)]
VoxelProgress = Callable[[int, int], None]


class ImportOptions(Settings):
    """What a file does not say about its array."""

    name: str | None = None
    """The array in a file that holds several."""
    axes: str | None = None
    """The stored axes, slowest first, such as `zyx`, `xyz`, `yx`, `yxc`; null: `yx`, `zyx` or `czyx`."""
    voxel_size: tuple[Size, Size, Size] | None = None
    """Along z, y, x in `units`; null: what the file says, else 1."""
    offset: tuple[float, float, float] | None = None
    """Place of the file's first voxel along z, y, x, before `crop`; null: what the file says, else 0."""
    units: Literal["nm", "um", "µm", "mm", "vx"] | None = None
    crop: str | None = None
    """The region to take, in voxels: `z=0:125,y=10:`."""
    quantise: bool = False
    """Store affinities in 0..1 as uint8, 255 being 1."""
    boundaries: bool = False
    """Turn boundary probabilities into affinities: 1 - the larger of a voxel's and that of the one before."""
    offsets: tuple[Voxels, ...] | None = None
    """Which voxel each affinity channel looks at; null: what the file says, else the three nearest."""
    block: tuple[Positive, Positive, Positive] = (64, 128, 128)
    """Voxels of a shard."""

    @field_validator("axes")
    @classmethod
    def known_axes(cls, axes: str | None) -> str | None:
        if axes is not None and (len(set(axes)) < len(axes) or not set("yx") <= set(axes) <= set("czyx")):
            raise ValueError("axes must name y and x, and z and c where they exist, each once: zyx, czyx")
        return axes

    @model_validator(mode="after")
    def one_conversion(self) -> Self:
        if self.quantise and self.boundaries:
            raise ValueError("quantise and boundaries exclude each other: boundaries are quantised anyway")
        return self


def import_volume(source: Path, target: Path, *, progress: VoxelProgress | None = None, **options: Any) -> Info:
    """Copy an array into a new zarr v3 volume and describe it; raises BadInput and leaves nothing otherwise.

    source: .npz, .npy, .tif, a folder of .tif, HDF5, zarr 2 or 3, N5; it is never in memory as a whole.
    target: such as `data/vol.zarr/raw`. options: the fields of ImportOptions.
    progress: told (voxels done, all voxels).
    """
    chosen = ImportOptions.parse(options, "import")
    check_target(target)
    with staging(target, ".importing-") as scratch, open_foreign(source, chosen.name, scratch) as opened:
        plan = ImportPlan(source, opened, chosen)
        made = Volume(path=scratch / "volume.zarr" / target.name)
        create(made, plan.shape, plan.conversion.dtype, chosen.block, attributes=plan.attributes)
        identity = copy(plan, made, progress)
        open_array(made, "r+").attrs["identity"] = identity
        publish(made, target)
    return info(Volume(path=target))


class ImportPlan:
    """What is read, and what becomes of it; raises BadInput if they do not go together."""

    def __init__(self, path: Path, source: ForeignArray, options: ImportOptions) -> None:
        self.path = path
        self.source = source
        self.axes = stored_axes(path, source, options.axes)
        self.conversion = conversion(path, source.dtype, "c" in self.axes, options)
        sizes = dict(zip(self.axes, source.shape, strict=True))
        crop = parse_crop(options.crop, {axis: sizes.get(axis, 1) for axis in SPATIAL})
        self.begin = [crop[axis][0] for axis in SPATIAL]
        self.channels = sizes.get("c")
        channels = self.conversion.channels or self.channels
        self.spatial = tuple(end - begin for begin, end in crop.values())
        self.shape = self.spatial if channels is None else (channels, *self.spatial)
        self.attributes = self._attributes(options, channels)

    def read(self, low: Voxels, high: Voxels) -> np.ndarray:
        """(z, y, x) or (channel, z, y, x): the numbers to store between two corners of the target."""
        reach = self.conversion.reach
        first = [max(0, at - reach) for at in low]
        spans = {
            axis: slice(begin + at, begin + end)
            for axis, begin, at, end in zip(SPATIAL, self.begin, first, high, strict=True)
        }
        spans["c"] = slice(0, self.channels or 1)
        data = np.asarray(self.source.read(tuple(spans[axis] for axis in self.axes)))
        order = [self.axes.index(axis) for axis in ("c", *SPATIAL) if axis in self.axes]
        data = data.transpose(order)
        if "z" not in self.axes:
            data = np.expand_dims(data, -3)
        where = ", ".join(f"{axis} {spans[axis].start}:{spans[axis].stop}" for axis in SPATIAL)
        missing = [max(0, reach - at) for at in low]
        return self.conversion.apply(data, missing, f"{self.path}, {where}")

    def _attributes(self, options: ImportOptions, channels: int | None) -> dict[str, Any]:
        said = self.source.attributes
        size = options.voxel_size or self._said(said.get("voxel_size", said.get("resolution")), 1)
        offset = options.offset or self._said(said.get("offset"), 0)
        units = said.get("units")
        unit = options.units or (str(units[-1]) if isinstance(units, list) and units else "nm")
        moved = [float(at + begin * step) for at, begin, step in zip(offset, self.begin, size, strict=True)]
        named = {"file": self.path.name, "name": options.name, "crop": options.crop}
        result = {"voxel_size": [*size], "offset": moved, "units": [unit] * 3, "source": named}
        offsets = self._offsets(options, channels)
        return {**result, "offsets": [list(offset) for offset in offsets]} if offsets else result

    def _offsets(self, options: ImportOptions, channels: int | None) -> Sequence[Sequence[int]] | None:
        """The affinity offsets, None for what are no affinities; raises BadInput if they do not fit."""
        offsets: Sequence[Sequence[int]] | None = options.offsets or self.source.attributes.get("offsets")
        if offsets is None and (options.boundaries or (options.quantise and channels == 3)):
            offsets = NEAREST
        if offsets is None and options.quantise:
            raise BadInput(self.path, f"{channels} affinity channels without offsets", todo="give --offsets")
        if offsets is not None and len(offsets) != channels:
            raise BadInput("--offsets", "not one per channel", got=len(offsets), wanted=channels or "none")
        return offsets

    def _said(self, values: Any, default: float) -> list[float]:
        """An attribute with one number a stored spatial axis, as z, y, x."""
        spatial = [axis for axis in self.axes if axis != "c"]
        if not isinstance(values, list) or len(values) < len(spatial):
            return [default] * 3
        found = dict(zip(spatial, values[-len(spatial) :], strict=True))
        return [found.get(axis, default) for axis in SPATIAL]


def stored_axes(path: Path, source: ForeignArray, axes: str | None) -> str:
    """The axes of the stored array, slowest first; raises BadInput if they cannot be those."""
    shape = source.shape
    if len(shape) not in USUAL_AXES or min(shape) < 1:
        raise BadInput(path, "wrong number of axes", got=shape, wanted="2 to 4 axes, none of them empty")
    chosen = axes or USUAL_AXES[len(shape)]
    if len(chosen) != len(shape):
        raise BadInput(
            "--axes",
            f"one letter per axis of {path} is needed",
            got=f"{chosen} for {shape}",
            wanted=f"such as {USUAL_AXES[len(shape)]}",
        )
    if axes is None and len(shape) == 3 and shape[2] <= 4 < min(shape[:2]):
        raise BadInput(
            path,
            "the last axis looks like colours",
            got=shape,
            wanted="(z, y, x)",
            todo="use --axes yxc, or --axes zyx if it is right",
        )
    if "c" in chosen and shape[chosen.index("c")] > MAX_CHANNELS:
        raise BadInput(
            path,
            f"axis c of {chosen} looks like a spatial one",
            got=shape,
            wanted=f"at most {MAX_CHANNELS} channels",
            todo="correct --axes",
        )
    return chosen


def conversion(path: Path, dtype: np.dtype[Any], has_channels: bool, options: ImportOptions) -> Conversion:
    """What is done to the numbers; raises BadInput if they are none, or are not what the options say."""
    if dtype.kind not in "buif":
        raise BadInput(path, "does not hold plain numbers", got=dtype, wanted="integers or floats")
    found = f"{dtype}, {'with' if has_channels else 'no'} channels"
    if options.boundaries:
        if has_channels or not (dtype.kind == "f" or dtype == np.uint8):
            raise BadInput(
                path, "boundaries need one probability per voxel", got=found, wanted="(z, y, x) float in 0..1, or uint8"
            )
        return FROM_BOUNDARIES
    if options.quantise:
        if not has_channels or dtype.kind != "f":
            raise BadInput(
                path,
                "only float affinities are quantised",
                got=found,
                wanted="(channel, z, y, x) float in 0..1",
                todo="leave --quantise out",
            )
        return QUANTISE
    if has_channels and dtype.kind == "f":
        raise BadInput(path, "float affinities are stored as uint8", got=dtype, todo="add --quantise")
    return KEEP.for_dtype(dtype)


def parse_crop(text: str | None, sizes: dict[str, int]) -> dict[str, tuple[int, int]]:
    """{axis: (begin, end)} for z, y, x from `z=0:125,y=10:`; raises BadInput for a region outside the array."""
    result = {axis: (0, sizes[axis]) for axis in SPATIAL}
    for term in text.split(",") if text else ():
        axis, _, span = term.strip().partition("=")
        begin, colon, end = span.partition(":")
        numbers = all(not number or number.isdecimal() for number in (begin, end))
        if axis not in sizes or not colon or not numbers:
            raise BadInput("--crop", "is not a part of z, y, x", got=term, wanted="such as z=0:125,y=10:")
        result[axis] = (int(begin or 0), int(end or sizes[axis]))
        if not 0 <= result[axis][0] < result[axis][1] <= sizes[axis]:
            raise BadInput("--crop", f"lies outside the {sizes[axis]} voxels along {axis}", got=term)
    return result


def copy(plan: ImportPlan, target: Volume, progress: VoxelProgress | None) -> str:
    """Write every voxel, whole shards at a time; returns a checksum that only the content determines."""
    array = open_array(target, "r+")
    _, size_y, size_x = plan.spatial

    def written(begin: Voxels, end: Voxels) -> np.ndarray:
        data = plan.read(begin, end)
        array[..., begin[0] : end[0], begin[1] : end[1], :] = data
        if progress:
            progress(begin[0] * size_y * size_x + (end[0] - begin[0]) * end[1] * size_x, math.prod(plan.spatial))
        return data

    itemsize = max(array.dtype.itemsize, plan.source.dtype.itemsize)
    return checksum(array.dtype, plan.shape, array.shards[-3:-1], itemsize, written)
