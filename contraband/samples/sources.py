"""Gunpowder sources: volumes in zarr containers (formats 2 and 3) and labelled points. World units are voxels.

A source answers any region. Beyond the volume raw is mirrored and labels are -1, "not known". What fits into memory is
read once and kept, so that training is not bound by decompression.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gunpowder as gp
import numpy as np
import zarr
from numpy.typing import NDArray

from blockwise.arrays.values import check_finite
from blockwise.arrays.volume import Volume, info
from blockwise.errors import BadInput
from contraband.models.normalise import SLAB_BYTES, Levels, Percentiles, measure, slab_depth
from contraband.samples.points import Points, as_labels, is_mask

KEPT_BYTES = 1 << 30
"""Arrays below this size are kept in memory."""

FAR = 1 << 24
"""Voxels a source pretends to extend beyond its volume; float32 point positions stay exact up to here."""

UNKNOWN = -1
"""Label of voxels outside the volume."""


@dataclass(frozen=True)
class ZarrVolume:
    """One dataset of a container, seen as (z, y, x), or as (channel, z, y, x) if it has four axes."""

    container: str
    dataset: str
    unknown: int = UNKNOWN
    """This number in labels means that nothing is known, beside what `as_labels` knows of."""
    holds_classes: bool = False
    """Whether its labels are numbers of classes, so that 255 in bytes is none."""

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.container}/{self.dataset}"

    def open(self) -> Any:
        """The zarr array; BadInput if it is not there or has another number of axes."""
        if not Path(self.container).is_dir():
            raise BadInput(self.container, "no such zarr container", todo="check data_file, or import the data")
        try:
            array = zarr.open_array(self.container, path=self.dataset, mode="r")
        except Exception as error:  # zarr raises a different class for each way of not being an array
            raise BadInput(self.where, f"is not a zarr array ({type(error).__name__})", todo="check dataset") from None
        if array.ndim not in (2, 3, 4):
            raise BadInput(self.where, "has a wrong number of axes", got=array.ndim, wanted="2, 3 or 4")
        return array

    def shape(self) -> tuple[int, int, int]:
        """Extents (z, y, x); z is 1 for a single image."""
        z, y, x = (1, *self.open().shape)[-3:]
        return z, y, x

    def voxel_size(self) -> tuple[float, float, float]:
        """Size of a voxel along z, y, x in the unit of the data; 1 where nothing is said of it."""
        z, y, x = info(self.volume()).voxel_size
        return z, y, x

    def volume(self) -> Volume:
        """The same array, with the place that its attributes tell."""
        return Volume(path=Path(self.container) / self.dataset)

    def dtype(self) -> np.dtype[Any]:
        """The type the values are stored in."""
        dtype: np.dtype[Any] = np.dtype(self.open().dtype)
        return dtype


def check_values(raw: ZarrVolume) -> None:
    """Raise WorkFailed if raw that fits into memory holds NaN or infinite values; larger raw is checked when read."""
    array = raw.open()
    if np.dtype(array.dtype).kind == "f" and array.nbytes < KEPT_BYTES:
        check_finite(array[:], raw.where, (0,) * array.ndim)


def raw_levels(volume: ZarrVolume, wanted: Percentiles | None) -> Levels | None:
    """What becomes 0 and 1 in a raw volume; None where nothing is wanted. Reads all of it."""
    if wanted is None:
        return None
    reader = VolumeReader(volume)
    array, sections = volume.open(), reader.shape[0]
    depth = 1 if array.ndim == 2 else slab_depth(array.chunks[-3], array.nbytes // sections)
    return measure(reader.sections, sections, wanted, depth)


class VolumeReader:
    """Reads any region of one volume; raw with `levels` comes stretched between them, as float32."""

    def __init__(self, volume: ZarrVolume, levels: Levels | None = None) -> None:
        self.levels = levels
        self.volume = volume
        self.where = volume.where
        array = volume.open()
        self.array = array[:] if array.nbytes < KEPT_BYTES else array
        self.flat = array.ndim == 2
        self.shape = volume.shape()

    @cached_property
    def is_mask(self) -> bool:
        """Whether all that is labelled is the largest number of bytes, looked up once in the whole array."""
        step = max(1, len(self.array) * SLAB_BYTES // max(1, self.array.nbytes))
        slabs = (np.asarray(self.array[begin : begin + step]) for begin in range(0, len(self.array), step))
        return self.array.dtype == np.uint8 and all(is_mask(slab) for slab in slabs)

    def mirrored(self, begin: tuple[int, ...], end: tuple[int, ...]) -> NDArray[Any]:
        """Values of a region, mirrored at the borders of the volume without repeating the border voxel."""
        wanted = [_mirror(np.arange(b, e), n) for b, e, n in zip(begin, end, self.shape, strict=True)]
        low = [int(index.min()) for index in wanted]
        data = self._read(low, [int(index.max()) + 1 for index in wanted])
        check_finite(data, self.where, low)
        for axis, (index, first) in enumerate(zip(wanted, low, strict=True), start=-3):
            if len(index) != data.shape[axis] or index[0] > index[-1]:
                data = np.take(data, index - first, axis=axis)
        return data if self.levels is None else self.levels.apply(data, wanted[0])

    def sections(self, begin: int, end: int) -> NDArray[Any]:
        """Whole sections as (C, z, y, x), as they are stored."""
        _, y, x = self.shape
        data = self._read([begin, 0, 0], [end, y, x])
        check_finite(data, self.where, (begin, 0, 0))
        return data.reshape(-1, end - begin, y, x)

    def labels(self, begin: tuple[int, ...], end: tuple[int, ...]) -> NDArray[np.int64]:
        """Labels of a region as int64, -1 outside the volume."""
        low = [min(max(b, 0), n) for b, n in zip(begin, self.shape, strict=True)]
        high = [min(max(e, 0), n) for e, n in zip(end, self.shape, strict=True)]
        data = np.full([e - b for b, e in zip(begin, end, strict=True)], UNKNOWN, dtype=np.int64)
        inside = tuple(slice(lo - b, hi - b) for lo, hi, b in zip(low, high, begin, strict=True))
        data[inside] = self._as_labels(self._read(low, high))
        return data

    def _as_labels(self, stored: NDArray[Any]) -> NDArray[np.int64]:
        masked = not self.volume.holds_classes and self.is_mask
        labels = as_labels(stored, masked)
        if self.volume.unknown != UNKNOWN:
            labels[stored == self.volume.unknown] = UNKNOWN
        return labels

    def _read(self, low: list[int], high: list[int]) -> NDArray[Any]:
        region = tuple(slice(lo, hi) for lo, hi in zip(low, high, strict=True))
        if self.flat:
            return np.asarray(self.array[region[1:]])[None]
        return np.asarray(self.array[(..., *region)])


class VolumeSource(gp.BatchProvider):
    """Raw, labels and the place of a sample.

    `place` is a key whose region must lie inside the volume; `RandomLocation` is thereby bounded by it alone.
    """

    def __init__(
        self,
        raw: tuple[gp.ArrayKey, ZarrVolume],
        labels: tuple[gp.ArrayKey, ZarrVolume] | None,
        place: gp.ArrayKey,
        levels: Levels | None = None,
    ) -> None:
        self.levels = levels
        self.volumes = {"raw": raw} | ({"labels": labels} if labels else {})
        self.place = place
        self.readers: dict[str, VolumeReader] = {}

    def setup(self) -> None:
        """Announce regions; read what is kept."""
        for kind, (key, volume) in self.volumes.items():
            self.readers[kind] = VolumeReader(volume, self.levels if kind == "raw" else None)
            dtype = np.dtype(np.float32) if self.levels else volume.dtype()
            self.provides(key, _spec(_everywhere(), dtype=np.int64 if kind == "labels" else dtype))
        self.provides(self.place, _spec(gp.Roi((0, 0, 0), self.readers["raw"].shape), dtype=np.uint8))

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Read what is asked for."""
        batch = gp.Batch()
        for kind, (key, _) in self.volumes.items():
            if key in request:
                roi = request[key].roi
                reader = self.readers[kind]
                read = reader.labels if kind == "labels" else reader.mirrored
                batch[key] = gp.Array(read(tuple(roi.begin), tuple(roi.end)), _with_roi(self.spec[key], roi))
        if self.place in request:
            roi = request[self.place].roi
            nothing = np.broadcast_to(np.uint8(0), tuple(roi.shape))
            batch[self.place] = gp.Array(nothing, _with_roi(self.spec[self.place], roi))
        return batch


class PointSource(gp.BatchProvider):
    """Labelled points as graph nodes; a node's id is its row in the points."""

    def __init__(self, points: Points, keys: tuple[gp.GraphKey, ...]) -> None:
        self.points = points
        self.keys = keys

    def setup(self) -> None:
        """Announce the same points under each key."""
        for key in self.keys:
            self.provides(key, gp.GraphSpec(roi=_everywhere(), directed=False))

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """The points inside the region of each key."""
        batch = gp.Batch()
        for key in self.keys:
            if key in request:
                roi = request[key].roi
                inside = (self.points.positions >= roi.begin).all(1) & (self.points.positions < roi.end).all(1)
                nodes = [
                    gp.Node(id=int(row), location=self.points.positions[row].astype(np.float32))
                    for row in np.flatnonzero(inside)
                ]
                batch[key] = gp.Graph(nodes, [], gp.GraphSpec(roi=roi, directed=False))
        return batch


def _mirror(index: NDArray[np.int64], extent: int) -> NDArray[np.int64]:
    """Indices outside 0..extent-1 reflected back into it."""
    if extent == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * extent - 2)
    return np.minimum(index, 2 * extent - 2 - index)


def _everywhere() -> gp.Roi:
    return gp.Roi((-FAR,) * 3, (2 * FAR,) * 3)


def _spec(roi: gp.Roi, dtype: Any) -> gp.ArraySpec:
    return gp.ArraySpec(roi=roi, voxel_size=(1, 1, 1), interpolatable=dtype != np.int64, dtype=dtype)


def _with_roi(spec: gp.ArraySpec, roi: gp.Roi) -> gp.ArraySpec:
    spec = spec.copy()
    spec.roi = roi.copy()
    return spec
