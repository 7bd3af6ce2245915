"""What the labelling page shows: its panels, its layers, and where they lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray

from blockwise.arrays.volume import Volume, info
from blockwise.grid import Voxels
from contraband.label.pairs import LabelPair
from contraband.label.record import Point
from contraband.models.classes import CLASSES
from contraband.volumes.view.layers import image_layer, stored_volume
from contraband.volumes.view.pieces import Factor

BOX: dict[int, Voxels] = {2: (1, 512, 512), 3: (128, 256, 256)}
"""Voxels around the middle of the view that are predicted and segmented after each click."""

COLOURS = ("#60a0ff", "#40ff70", "#ff5050", "#ffe040", "#ff60ff")
"""Of the classes, where points are marked; then of pairs in one object, and in two."""

ARM = 2
"""Voxels from the middle of a mark to the ends of its cross."""

SHADER = """void main() {
  float background = toNormalized(getDataValue(0));
  float inside = toNormalized(getDataValue(1));
  float boundary = toNormalized(getDataValue(2));
  vec3 colour = background * vec3(.25, .5, 1.) + inside * vec3(.19, .88, .38) + boundary * vec3(1., .25, .25);
  emitRGBA(vec4(colour, background + inside + boundary > 0. ? 1. : 0.));
}"""


class Drawn(ABC):
    """Pieces of a layer whose voxels at full size a subclass tells by slices, as numpy would."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    coarsest = 64
    source: Any = None
    """What the viewer shows; to be invalidated when the content has changed."""

    def piece(self, begin: NDArray[Any], end: NDArray[Any], factor: Factor) -> NDArray[Any]:
        """The voxels from `begin` to `end`, both counted in voxels that are `factor` times as large."""
        ends = zip(begin, end, factor, self.shape, strict=True)
        region = tuple(slice(int(low * by), int(min(high * by, size)), None) for low, high, by, size in ends)
        found: NDArray[Any] = self[region][tuple(slice(None, None, by) for by in factor)]
        return found

    def forget(self) -> None:  # noqa: B027 - layers need not say it again
        """Nothing is kept."""

    @abstractmethod
    def __getitem__(self, region: tuple[Any, ...]) -> NDArray[Any]:
        """The voxels of a region, given by slices."""


class Shown(Drawn):
    """A layer of which one box has content, as the server asks for it: everywhere else it is 0."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._content: tuple[Roi, NDArray[Any]] | None = None

    def fill(self, box: Roi, content: NDArray[Any]) -> None:
        """Show (z, y, x) or (channel, z, y, x) in the box; whatever is shown now is gone."""
        self._content = (box, content)  # in one step, for the server reads in threads of its own

    def clear(self) -> None:
        """Show nothing."""
        self._content = None

    def __getitem__(self, region: tuple[Any, ...]) -> NDArray[Any]:
        """The voxels of one piece."""
        result = np.zeros([one.stop - one.start for one in region], self.dtype)
        content = self._content
        if content is None:
            return result
        box, values = content
        begin = [one.start for one in region[-3:]]
        wanted = Roi(begin, result.shape[-3:])
        common = wanted.intersect(box)
        if not common.empty:
            z, y, x = (common - wanted.begin).to_slices()
            inside: tuple[Any, ...] = (common - box.begin).to_slices()
            result[..., z, y, x] = values[region[:-3] + inside]
        return result


class Marks(Drawn):
    """A layer of crosses in their sections, and of lines between those of a pair; everywhere else 0.

    A cross has the number of its class and 1, or one of the two numbers that follow those of the classes.
    """

    dtype = np.dtype("uint64")

    def __init__(self, shape: Voxels) -> None:
        self.shape = shape
        self._crosses: list[tuple[Voxels, int]] = []
        self._dots: list[tuple[Voxels, int]] = []

    def show(self, points: Sequence[Point], pairs: Sequence[LabelPair]) -> None:
        """These, and no others."""
        numbered = [(pair, len(CLASSES) + (1 if pair.is_same else 2)) for pair in pairs]
        ends = [(end.voxel, number) for pair, number in numbered for end in pair.ends]
        self._crosses = [*((point.voxel, point.label + 1) for point in points), *ends]
        self._dots = [(voxel, number) for pair, number in numbered for voxel in pair.line[::2]]

    def __getitem__(self, region: tuple[Any, ...]) -> NDArray[np.uint64]:
        """The voxels of one piece."""
        begin = [one.start for one in region]
        result = np.zeros([one.stop - one.start for one in region], np.uint64)
        for marked, arm in ((self._dots, 0), (self._crosses, ARM)):
            for voxel, number in marked:
                z, y, x = (at - first for at, first in zip(voxel, begin, strict=True))
                rows, columns = (slice(max(0, at - arm), max(0, at + arm + 1)) for at in (y, x))
                if not 0 <= z < result.shape[0]:
                    continue
                if 0 <= x < result.shape[2]:
                    result[z, rows, x] = number
                if 0 <= y < result.shape[1]:
                    result[z, y, columns] = number
        return result


def prepare(
    viewer: Any, raw: Volume, prediction: Shown, segments: Shown, marks: Marks, channels: Sequence[int] = ()
) -> None:
    """Show raw, prediction, segments and points in a viewer, and lay out its panels: XY is large.

    channels: those of raw that the session sees; none where raw has no channel axis.
    """
    import neuroglancer

    from contraband.volumes.view.source import PieceSource, first_voxel

    found = info(raw)
    for layer in (prediction, segments, marks):
        layer.source = PieceSource(layer, found, is_image=layer is prediction)
    colours = {number + 1: colour for number, colour in enumerate(COLOURS)}
    layers = {
        "raw": image_layer("raw", raw, stored_volume(raw, is_image=True), channels),
        "prediction": neuroglancer.ImageLayer(source=prediction.source.placed(), shader=SHADER, opacity=0.35),
        "segments": neuroglancer.SegmentationLayer(source=segments.source.placed(), selected_alpha=0.4),
        "points": neuroglancer.SegmentationLayer(
            source=marks.source.placed(), selected_alpha=1, segment_colors=colours
        ),
    }
    middle = [first + size // 2 + 0.5 for first, size in zip(first_voxel(found), segments.shape, strict=True)]
    with viewer.txn() as state:
        for name, layer in layers.items():
            state.layers.append(name=name, layer=layer)
        for layer in state.layers:
            layer.visible = True
        state.dimensions = segments.source.dimensions
        state.display_dimensions = ["x", "y", "z"]  # else the first axis, z, would run from left to right
        state.position = middle
        state.show_axis_lines = False
        state.show_default_annotations = False
        state.layout = panels(segments.shape[0] == 1)


def panels(is_flat: bool) -> Any:
    """Image with prediction, and with segments beside it; another plane unless there is one section only."""
    import neuroglancer

    predicted, segmented = ["raw", "prediction", "points"], ["raw", "segments", "points"]
    view = neuroglancer.LayerGroupViewer
    side = view(layers=segmented, layout="xy")
    if not is_flat:
        side = neuroglancer.column_layout([side, view(layers=predicted, layout="xz")])
    return neuroglancer.row_layout([view(layers=predicted, layout="xy", flex=1 if is_flat else 2), side])
