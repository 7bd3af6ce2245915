"""What an import reads, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.chunks import told
from blockwise.arrays.space import SPATIAL
from blockwise.errors import BadInput
from blockwise.grid import Voxels, as_voxels
from contraband.importing.affinities import looking_back, moved, offsets_of, remarks_on
from contraband.importing.axes import select
from contraband.importing.colours import as_grey
from contraband.importing.conversion import Conversion, conversion
from contraband.importing.options import ImportOptions
from contraband.importing.placing import placed, remarks_on_attributes, words
from contraband.importing.sections import IMAGES
from contraband.importing.source import ForeignArray, Slices

NO_MOVE: Voxels = (0, 0, 0)
SCAN_BYTES = 64 << 20


class ImportPlan:
    """What is read, and what becomes of it; raises BadInput if they do not go together.

    `shape`: of the result, (z, y, x) or (channel, z, y, x); `attributes`: of its array; `remarks`: lines for the user.
    """

    def __init__(self, path: Path, source: ForeignArray, options: ImportOptions) -> None:
        self.path = path
        if source.has_colours and options.channel is None and options.axes is None and "c=" not in (options.crop or ""):
            source = as_grey(path, source)
        if options.labels and source.is_lossy:
            what = "is packed by JPEG, which changes numbers: the names of objects are lost"
            raise BadInput(path, what, todo="export the labels as PNG or TIFF")
        self.source = source
        self.selection = select(path, source, options)
        channels = self.selection.channels
        converted = conversion(path, source.dtype, channels is not None, options)
        given = offsets_of(path, options, source.attributes, channels)
        offsets, moves = looking_back(given) if given else ((), ())
        self.moves = () if options.boundaries else moves
        self.reach = as_voxels(max((move[axis] for move in self.moves), default=0) for axis in range(3))
        self.conversion, note = self._recognised(converted, is_affinity=bool(given) and not options.quantise)
        self.spatial = as_voxels(end - begin for begin, end in self.selection.spans.values())
        count = converted.channels or (len(channels) if channels else None)
        self.shape = self.spatial if count is None else (count, *self.spatial)
        self.attributes = self._attributes(options, offsets)
        about = remarks_on_attributes(source.attributes, self.attributes, self.selection.axes)
        self.remarks = (*source.remarks, *remarks_on(given), *note, *about, *self._missing())

    def read(self, low: Voxels, high: Voxels) -> np.ndarray:
        """(z, y, x) or (channel, z, y, x): the numbers to store between two corners of the target."""
        begins = [begin for begin, _ in self.selection.spans.values()]
        place = [
            f"{axis} {begin + at}:{begin + end}"
            for axis, begin, at, end in zip(SPATIAL, begins, low, high, strict=True)
        ]
        where = f"{self.path}, {', '.join(place)}"
        if any(self.reach):
            # Before a crop there may be more of the file, which a moved channel takes its first voxels from.
            first = [max(0, begin + at - more) for begin, at, more in zip(begins, low, self.reach, strict=True)]
            missing = as_voxels(
                max(0, more - begin - at) for begin, at, more in zip(begins, low, self.reach, strict=True)
            )
            data = moved(self._stored(first, self._ends(begins, high)), self.moves, self.reach, missing)
            return self.conversion.apply(data, NO_MOVE, where)
        reach = self.conversion.reach
        first = [begin + max(0, at - reach) for begin, at in zip(begins, low, strict=True)]
        missing = as_voxels(max(0, reach - at) for at in low)
        return self.conversion.apply(self._stored(first, self._ends(begins, high)), missing, where)

    def _ends(self, begins: list[int], high: Voxels) -> list[int]:
        return [begin + end for begin, end in zip(begins, high, strict=True)]

    def _stored(self, begin: list[int], end: list[int]) -> np.ndarray:
        """(z, y, x) or (channel, z, y, x): the numbers of the file between two of its voxels."""
        selection = self.selection
        data = self.source.read(self._slices(begin, end))
        kept = [axis for axis in selection.axes if axis in SPATIAL or (axis == "c" and selection.channels)]
        data = data.reshape([size for axis, size in zip(selection.axes, data.shape, strict=True) if axis in kept])
        data = data.transpose([kept.index(axis) for axis in ("c", *SPATIAL) if axis in kept])
        if "z" not in kept:
            data = np.expand_dims(data, -3)
        if selection.channels:
            data = data[[channel - min(selection.channels) for channel in selection.channels]]
        return data

    def _slices(self, begin: list[int], end: list[int]) -> Slices:
        selection = self.selection
        channels = selection.channels or (selection.first_channel,)
        spans = {axis: slice(low, high) for axis, low, high in zip(SPATIAL, begin, end, strict=True)}
        spans["t"] = slice(selection.time, selection.time + 1)
        spans["c"] = slice(min(channels), max(channels) + 1)
        return tuple(spans.get(axis, slice(0, 1)) for axis in selection.axes)

    def _recognised(self, converted: Conversion, is_affinity: bool) -> tuple[Conversion, tuple[str, ...]]:
        """The conversion with the number that means 1, by the largest there is; and a remark if it is unusual."""
        dtype = self.source.dtype
        is_boundary = converted.kind == "boundaries"
        if dtype.kind not in "bu" or not (is_boundary or is_affinity):
            return converted, ()
        what = "boundaries" if is_boundary else "affinities"
        if dtype.kind == "b":
            return replace(converted, full=1, dtype="uint8"), (f"{what} are truth values: true is taken for certain",)
        usual = int(np.iinfo(dtype).max)
        limits = [limit for limit in (1, 255) if limit < usual] if is_boundary else [1]
        largest = self._largest(limits[-1])
        if largest == 0:
            return replace(converted, full=usual if is_boundary else None), (f"{what} are 0 everywhere",)
        full = next((limit for limit in limits if largest <= limit), None)
        if full is not None:
            note = f"the largest number of the {what} is {largest}: {full} is taken for certain, not {usual}"
            return replace(converted, full=full, dtype="uint8"), (note,)
        return (replace(converted, full=usual), ()) if is_boundary else (converted, ())

    def _largest(self, enough: int) -> int:
        """The largest number of the part, or the first found that is above `enough`."""
        largest = 0
        for begin, end in self._slabs():
            largest = max(largest, int(self._stored(begin, end).max()))
            if largest > enough:
                break
        return largest

    def _slabs(self) -> Iterator[tuple[list[int], list[int]]]:
        """The part in slabs of whole sections."""
        (begin_z, end_z), *plane = self.selection.spans.values()
        section = math.prod(end - begin for begin, end in plane) * len(self.selection.channels or (0,))
        depth = max(1, SCAN_BYTES // (section * self.source.dtype.itemsize))
        for z in range(begin_z, end_z, depth):
            yield [z, *(begin for begin, _ in plane)], [min(z + depth, end_z), *(end for _, end in plane)]

    def _attributes(self, options: ImportOptions, offsets: tuple[Voxels, ...]) -> dict[str, Any]:
        place = placed(self.path, self.source, self.selection.axes, options)
        begins = [begin for begin, _ in self.selection.spans.values()]
        offset = [
            float(at + begin * step) for at, begin, step in zip(place.offset, begins, place.voxel_size, strict=True)
        ]
        said = words(self.selection, place, self.source)
        chosen = options.model_dump(include={"name", "crop", "series", "level", "time", "channel"}, mode="json")
        named = {"file": self.path.name, **{key: chosen[key] for key in ("name", "crop")}}
        named |= {key: value for key, value in chosen.items() if value is not None and key not in named}
        result: dict[str, Any] = {"voxel_size": [*place.voxel_size], "offset": offset, "units": [place.unit] * 3}
        result["source"] = {**named, "said": said}
        if self.source.images:
            result[IMAGES] = [list(one) for one in self.source.images]
        return {**result, "offsets": [list(offset) for offset in offsets]} if offsets else result

    def _missing(self) -> tuple[str, ...]:
        """A remark if chunks of the part have no file: a copy may have broken off."""
        if self.source.missing is None:
            return ()
        spans = self.selection.spans.values()
        absent, count = self.source.missing(self._slices([low for low, _ in spans], [high for _, high in spans]))
        if not absent:
            return ()
        return (told(absent, count, self.source.filled),)
