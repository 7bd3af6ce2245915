"""Files of other programs -> zarr v3 volumes: `contraband import`, slab by slab and all or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.content import checksum
from blockwise.arrays.info import Info
from blockwise.arrays.volume import Volume, create, info, open_array
from blockwise.errors import BadInput
from blockwise.files.whole import staging
from blockwise.grid import Voxels
from contraband.importing.formats import open_source
from contraband.importing.options import ImportOptions
from contraband.importing.plan import Plan
from contraband.importing.source import Wanted
from contraband.importing.staging import check_target, publish

Progress = Callable[[int, int], None]


def import_volume(
    source: Path,
    target: Path,
    *,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Info:
    """Copy an array into a new zarr v3 volume and describe it; raises BadInput and leaves nothing otherwise.

    source: .npz, .npy, TIFF, PNG, JPEG, a folder of these, HDF5, zarr 2 or 3, N5; it is never in memory as a whole.
    target: such as `data/vol.zarr/raw`. options: the fields of ImportOptions.
    progress: told (voxels done, all voxels). say: told each remark on the file, one line. Where axes, voxel size,
    offset and unit come from is in the attribute `source` of the volume, under `said`.
    """
    chosen = ImportOptions.parse(options, "import")
    check_target(target)
    with staging(target, ".importing-") as scratch:
        wanted = Wanted(chosen.name, chosen.series, chosen.level, scratch)
        try:
            with open_source(source, wanted) as opened:
                plan = Plan(source, opened, chosen)
                for line in plan.remarks if say else ():
                    say(f"{source}: {line}")  # type: ignore[misc]
                made = Volume(path=scratch / "volume.zarr" / target.name)
                create(made, plan.shape, plan.conversion.dtype, chosen.block, attributes=plan.attributes)
                identity = copy(plan, made, progress)
                open_array(made, "r+").attrs["identity"] = identity
            publish(made, target)
        except OSError as error:
            raise BadInput(target, f"cannot be written ({error.strerror or error})", todo="make room there") from None
    return info(Volume(path=target))


def copy(plan: Plan, target: Volume, progress: Progress | None) -> str:
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
