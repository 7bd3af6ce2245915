"""Colour images whose colours are all the same: grey ones, as many programs save them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from blockwise.arrays.space import Said, Space
from blockwise.errors import BadInput
from contraband.importing.source import ForeignArray, Slices

NAMES = {2: "grey and how opaque it is", 3: "red, green and blue", 4: "red, green, blue and how opaque they are"}


def as_grey(path: Path, source: ForeignArray) -> ForeignArray:
    """The array without its last axis of colours; raises BadInput if a voxel has any, also while it is read."""
    count = source.shape[-1]

    def read(slices: Slices) -> np.ndarray:
        data = source.read((*slices, slice(0, count)))
        if not is_grey(data):
            raise BadInput(
                path,
                f"is in colour: its last axis holds {NAMES.get(count, f'{count} colours')}",
                got=source.shape,
                wanted="grey",
                todo="choose one by --channel 0, or all by --channel " + ",".join(map(str, range(min(count, 3)))),
            )
        grey: np.ndarray = data[..., 0]
        return grey

    read((*(slice(0, 1) for _ in source.shape[:-3]), *(slice(0, size) for size in source.shape[-3:-1])))
    axes = source.space.axes
    space = replace(source.space, axes=Said(tuple(axes.value[:-1]), axes.where)) if axes else Space()
    grey = replace(source, shape=source.shape[:-1], read=read, space=space, has_colours=False)
    return grey.with_remarks("its colours are all the same: taken as grey")


def is_grey(data: np.ndarray) -> bool:
    """Whether colours along the last axis are the same, and all voxels are equally opaque."""
    count = data.shape[-1]
    colours, opacity = (data[..., : count - 1], data[..., -1]) if count in (2, 4) else (data, data[..., :1])
    same = bool((colours == colours[..., :1]).all())
    return same and (count == 3 or bool((opacity == opacity.flat[0]).all()))
