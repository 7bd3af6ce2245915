"""What the labelling page shows: its panels, its layers, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from funlib.geometry import Roi
from numpy.typing import NDArray

from blockwise.arrays.info import Info
from blockwise.grid import Voxels, as_voxels
from contraband.models.classes import CLASSES
from contraband.volumes.view import served

BOX: dict[int, Voxels] = {2: (1, 512, 512), 3: (128, 256, 256)}
"""Voxels around the middle of the view that are predicted and segmented after each click."""

COLOURS = ("#4080ff", "#30e060", "#ff4040")
"""Of the classes, for points and prediction."""

SHADER = """void main() {
  float background = toNormalized(getDataValue(0));
  float inside = toNormalized(getDataValue(1));
  float boundary = toNormalized(getDataValue(2));
  vec3 colour = background * vec3(.25, .5, 1.) + inside * vec3(.19, .88, .38) + boundary * vec3(1., .25, .25);
  emitRGBA(vec4(colour, background + inside + boundary > 0. ? 1. : 0.));
}"""


class Shown:
    """A layer of which one box has content, as the server asks for it: everywhere else it is 0."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._content: tuple[Roi, NDArray[Any]] | None = None
        self.source: Any = None
        """What the viewer shows; to be invalidated when the content has changed."""

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


def place_of(found: Info) -> Voxels:
    """Where the first voxel of a volume lies, in voxels of the viewer."""
    return as_voxels(round(at / size) for at, size in zip(found.offset, found.voxel_size, strict=True))


def prepare(viewer: Any, found: Info, dims: int, shown: Mapping[str, Shown]) -> None:
    """Add prediction, segments and points to a viewer with raw in it, and lay out its panels: XY is large."""
    import neuroglancer

    for name, layer in shown.items():
        layer.source = served(layer, found, is_image=name == "prediction")
    with viewer.txn() as state:
        source = neuroglancer.ImageLayer(source=shown["prediction"].source, shader=SHADER, opacity=0.35)
        state.layers.append(name="prediction", layer=source)
        state.layers.append(
            name="segments", layer=neuroglancer.SegmentationLayer(source=shown["segments"].source, selected_alpha=0.4)
        )
        space = neuroglancer.CoordinateSpace(
            names=["z", "y", "x"],
            units=["nm"] * 3 if all(unit == "nm" for unit in found.units) else [""] * 3,
            scales=list(found.voxel_size),
        )
        for name, colour in zip(CLASSES, COLOURS, strict=True):
            points = neuroglancer.LocalAnnotationLayer(dimensions=space, annotation_color=colour)
            state.layers.append(name=f"{name} points", layer=points)
        for layer in state.layers:
            layer.visible = True
        state.layout = panels(dims)
        state.show_slices = False


def panels(dims: int) -> Any:
    """Image with prediction, and with segments beside it; in 3D also another plane."""
    import neuroglancer

    points = [f"{name} points" for name in CLASSES]
    predicted = ["raw", "prediction", *points]
    segmented = ["raw", "segments", *points]
    view = neuroglancer.LayerGroupViewer
    if dims == 2:
        return neuroglancer.row_layout([view(layers=predicted, layout="xy"), view(layers=segmented, layout="xy")])
    side = neuroglancer.column_layout([view(layers=segmented, layout="xy"), view(layers=predicted, layout="xz")])
    return neuroglancer.row_layout([view(layers=predicted, layout="xy", flex=2), side])
