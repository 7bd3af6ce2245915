"""OME-NGFF 0.5: what viewers of other programs need to know of an array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blockwise.arrays.opening import open_group
from blockwise.arrays.units import OME_NAMES, VOXELS


def describe_multiscale(
    path: Path,
    names: Sequence[str],
    scale: Sequence[float],
    offset: Sequence[float],
    units: Sequence[str],
) -> None:
    """Enter the array as an OME-NGFF 0.5 image into the attributes of its group, unless it is there.

    offset: the corner of the first voxel along z, y, x, in `units` as `scale`.
    """
    group = open_group(path.parent, "a")
    image = {"name": path.name, **multiscale(names, units, [(path.name, scale, offset)])}
    ome: Any = group.attrs.get("ome", {})
    if image in ome.get("multiscales", []):
        return
    others = [entry for entry in ome.get("multiscales", []) if entry.get("name") != path.name]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [*others, image]}


def multiscale(
    names: Sequence[str], units: Sequence[str], levels: Sequence[tuple[str, Sequence[float], Sequence[float]]]
) -> dict[str, Any]:
    """The axes and levels of an image. levels: of each the path, the voxel size and the corner of its first voxel."""
    axes: list[dict[str, str]] = []
    for name, unit in zip(names, ("",) * (len(names) - 3) + tuple(units), strict=True):
        axis = {"name": name[0] if name == "channel" else name}
        axis["type"] = "channel" if name == "channel" else "space"
        if unit and unit != VOXELS:
            axis["unit"] = OME_NAMES.get(unit, unit)
        axes.append(axis)
    ones, zeros = [1.0] * (len(names) - 3), [0.0] * (len(names) - 3)
    datasets = []
    for path, scale, offset in levels:
        # The standard gives the place of the first voxel's centre: half a voxel from its corner.
        centre = [float(at) + float(size) / 2 for at, size in zip(offset, scale, strict=True)]
        transforms = [
            {"type": "scale", "scale": ones + [float(value) for value in scale]},
            {"type": "translation", "translation": zeros + centre},
        ]
        datasets.append({"path": path, "coordinateTransformations": transforms})
    return {"axes": axes, "datasets": datasets}
