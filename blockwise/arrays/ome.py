"""OME-NGFF 0.5: what viewers of other programs need to know of an array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zarr


def describe_multiscale(
    path: Path,
    names: Sequence[str],
    scale: Sequence[float],
    offset: Sequence[float],
    units: Sequence[str],
) -> None:
    """Enter the array as an OME-NGFF 0.5 image into the attributes of its group, unless it is there."""
    group = zarr.open_group(path.parent, mode="a")
    long_units = {"nm": "nanometer", "um": "micrometer", "µm": "micrometer", "vx": ""}
    axes: list[dict[str, str]] = []
    for name, unit in zip(names, ("",) * (len(names) - 3) + tuple(units), strict=True):
        axis = {"name": name[0] if name == "channel" else name}
        axis["type"] = "channel" if name == "channel" else "space"
        if full := long_units.get(unit, unit):
            axis["unit"] = full
        axes.append(axis)
    ones, zeros = [1.0] * (len(names) - 3), [0.0] * (len(names) - 3)
    transforms = [
        {"type": "scale", "scale": ones + [float(value) for value in scale]},
        {"type": "translation", "translation": zeros + [float(value) for value in offset]},
    ]
    image = {
        "name": path.name,
        "axes": axes,
        "datasets": [{"path": path.name, "coordinateTransformations": transforms}],
    }
    ome: Any = group.attrs.get("ome", {})
    if image in ome.get("multiscales", []):
        return
    others = [entry for entry in ome.get("multiscales", []) if entry.get("name") != path.name]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [*others, image]}
