"""Files of other programs -> zarr v3 volumes: `contraband import`, slab by slab and all or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from blockwise.arrays.content import checksum
from blockwise.arrays.info import Info
from blockwise.arrays.volume import Volume, create, info, open_array
from blockwise.errors import BadInput
from blockwise.files.address import address_in, place_of
from blockwise.grid import Voxels
from contraband.importing.formats import open_foreign
from contraband.importing.options import ImportOptions
from contraband.importing.plan import ImportPlan
from contraband.importing.seen import Seen
from contraband.importing.source import Wanted
from contraband.importing.staging import check_target, publish, unfinished

VoxelProgress = Callable[[int, int], None]


def import_volume(
    source: str | Path,
    target: str | Path,
    *,
    progress: VoxelProgress | None = None,
    say: Callable[[str], None] | None = None,
    **options: Any,
) -> Info:
    """Copy an array into a new zarr v3 volume and describe it; raises BadInput and leaves nothing otherwise.

    source: .npz, .npy, TIFF, PNG, JPEG, a folder of these, HDF5, zarr 2 or 3, N5; it is never in memory as a whole.
    target: such as `data/vol.zarr/raw`, or an address in an object store. options: the fields of ImportOptions.
    progress: told (voxels done, all voxels). say: told each remark on the file, one line. Where axes, voxel size,
    offset and unit come from is in the attribute `source` of the volume, under `said`.
    """
    if address := address_in(source):
        todo = "name a volume of zarr in the settings as it is, or download it first"
        raise BadInput(address, "is an address, and what is imported must be on a local disk", todo=todo)
    source = Path(source)
    try:
        target = place_of(target)
    except ValueError as error:
        raise BadInput("target", str(error)) from None
    chosen = ImportOptions.parse(options, "import")
    check_target(target)
    with unfinished(target) as scratch:
        wanted = Wanted(chosen.name, chosen.series, chosen.level, scratch, chosen.padding)
        made = Volume(path=scratch / "volume.zarr" / target.name)
        try:
            with open_foreign(source, wanted) as opened:
                plan = ImportPlan(source, opened, chosen)
                _say(say, source, plan.remarks)
                create(made, plan.shape, plan.conversion.dtype, chosen.block, attributes=plan.attributes)
                identity, seen = copy(plan, made, progress)
            said = plan.attributes["source"]["said"] | {"values": seen.words(np.dtype(plan.conversion.dtype))}
            described = {"identity": identity, "source": plan.attributes["source"] | {"said": said}}
            open_array(made, "r+").attrs.update(described)
            publish(made, target)
            _say(say, source, seen.remarks(np.dtype(plan.conversion.dtype), chosen))
        except OSError as error:
            raise BadInput(target, f"cannot be written ({error.strerror or error})", todo="make room there") from None
    return info(Volume(path=target))


def _say(say: Callable[[str], None] | None, source: Path, lines: Iterable[str]) -> None:
    for line in lines if say else ():
        say(f"{source}: {line}")  # type: ignore[misc]


def copy(plan: ImportPlan, target: Volume, progress: VoxelProgress | None) -> tuple[str, Seen]:
    """Write every voxel, whole shards at a time; returns a checksum that only the content determines, and its range."""
    seen = Seen()
    array = open_array(target, "r+")
    _, size_y, size_x = plan.spatial
    if progress:
        progress(0, math.prod(plan.spatial))  # so that the rate is known at the end of the first shard

    def written(begin: Voxels, end: Voxels) -> np.ndarray:
        data = plan.read(begin, end)
        seen.add(data)
        array[..., begin[0] : end[0], begin[1] : end[1], :] = data
        if progress:
            progress(begin[0] * size_y * size_x + (end[0] - begin[0]) * end[1] * size_x, math.prod(plan.spatial))
        return data

    itemsize = max(array.dtype.itemsize, plan.source.dtype.itemsize)
    return checksum(array.dtype, plan.shape, array.shards[-3:-1], itemsize, written), seen
