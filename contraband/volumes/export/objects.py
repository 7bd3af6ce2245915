"""The table of objects: where each lies, how large and bright it is, what it touches; as CSV or Parquet."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blockwise.arrays.info import Info
from blockwise.arrays.placement import place_in
from blockwise.arrays.volume import Volume, info
from blockwise.engine.options import RunOptions
from blockwise.errors import BadInput, Stale
from blockwise.files.address import check_target_on_disk
from blockwise.files.whole import check_folder, write_whole
from blockwise.kernels.graph.agglomeration import cut
from blockwise.kernels.measures import FIXED_POINT
from blockwise.stages.agglomerate.stage import read_dendrogram
from blockwise.stages.measure import Measure, Measures, measures
from blockwise.stages.segment import compact
from contraband.volumes.belonging import find_belonging, opened_store
from contraband.volumes.dendrograms import graph_ends, tree_of
from contraband.volumes.line import affinity_volume, select, stages
from contraband.volumes.output import Output
from contraband.volumes.run import execute, is_only_read
from contraband.volumes.settings import VolumeSettings, volume_shape

ObjectRow = dict[str, Any]


def check_table(target: Path) -> None:
    """Raise BadInput unless a table can be written there."""
    check_target_on_disk(target)
    if target.suffix not in (".csv", ".parquet"):
        raise BadInput(target, "is no name of a table", wanted="a name that ends in .csv or .parquet")
    if os.path.lexists(target):
        raise BadInput(target, "exists already", todo="remove it, or choose another target")
    check_folder(target, "target")
    if target.suffix == ".parquet":
        _pyarrow()


def write_objects(settings: VolumeSettings, target: Path, threshold: float, options: RunOptions) -> int:
    """Measure the fragments if that is not done, and write the table of the segments at a threshold; how many.

    The run must be finished up to where its graph ends.
    """
    before = select(stages(settings), None, graph_ends(settings))
    stage = _measure(settings)
    try:
        if not is_only_read(settings, [*before, stage]):
            execute(settings, [stage], options, before)
    except Stale:  # measured of another raw
        redone = RunOptions(redo="objects", progress=options.progress, announce=options.announce)
        execute(settings, [stage], redone, before)
    tree = read_dendrogram(tree_of(settings))
    segment = cut(tree, threshold)
    numbers = compact(segment) if settings.segment.numbers == "compact" else segment
    with opened_store(settings, find_belonging(settings).identity) as store:
        found = measures(store, tree.fragment, numbers)
    described = info(affinity_volume(settings))
    is_float = stage.raw is not None and info(stage.raw).dtype.kind == "f"
    channels = 0 if stage.raw is None else info(stage.raw).channels or 1
    write = _write_csv if target.suffix == ".csv" else _write_parquet
    write(target, columns(channels), rows(found, described, channels, FIXED_POINT if is_float else 1))
    return len(found.extents)


def _measure(settings: VolumeSettings) -> Measure:
    """The stage, of raw if the settings name it."""
    raw = Volume(path=settings.volume.raw) if settings.volume.raw else None
    shape = volume_shape(settings)
    depth, height, width = (min(step, size) for step, size in zip(settings.blocks.shape, shape, strict=True))
    return Measure(
        fragments=Output(settings.output).fragments,
        raw=raw,
        raw_begin=place_in(raw, affinity_volume(settings)).begin if raw else (0, 0, 0),
        shape=shape,
        block=(depth, height, width),
    )


def rows(found: Measures, described: Info, channels: int, scale: int) -> Iterator[ObjectRow]:
    """A row for each object, ascending. scale: what values of raw were multiplied by.

    Lengths, areas and volumes are in the unit of the voxel size, places those of centres; boxes are in voxels, `end` is
    the first one beyond. All is computed from exact sums, so it is the same for any blocks.
    """
    size, offset = described.voxel_size, described.offset
    brightness = {(int(row["fragment"]), int(row["channel"])): row for row in found.brightness}
    neighbours = _neighbours(found, size)
    for row in found.extents:
        number, voxels = int(row["fragment"]), int(row["voxels"])
        entry: ObjectRow = {"object": number, "voxels": voxels, "volume": voxels * math.prod(size)}
        for axis, letter in enumerate("zyx"):
            middle = int(row["sum"][axis]) / voxels + 0.5
            entry[f"centre_{letter}"] = offset[axis] + middle * size[axis]
        for axis, letter in enumerate("zyx"):
            entry[f"begin_{letter}"] = int(row["begin"][axis])
            entry[f"end_{letter}"] = int(row["end"][axis])
        entry["at_border"] = int(row["border"])
        for channel in range(channels):
            mean, deviation = _mean_and_deviation(brightness.get((number, channel)), scale)
            entry[f"mean_{channel}"] = mean
            entry[f"sd_{channel}"] = deviation
        entry["neighbours"] = len(neighbours[number])
        entry["contacts"] = " ".join(f"{other}:{area!r}" for other, area in sorted(neighbours[number].items()))
        yield entry


def columns(channels: int) -> list[str]:
    """The keys of a row."""
    box = [f"{end}_{letter}" for letter in "zyx" for end in ("begin", "end")]
    bright = [f"{what}_{channel}" for channel in range(channels) for what in ("mean", "sd")]
    centre = [f"centre_{letter}" for letter in "zyx"]
    return ["object", "voxels", "volume", *centre, *box, "at_border", *bright, "neighbours", "contacts"]


def _mean_and_deviation(row: Any, scale: int) -> tuple[float | None, float | None]:
    """Of the values of an object, from sums that are whole numbers; None where raw has none of its voxels."""
    if row is None:
        return None, None
    count, total = int(row["voxels"]), int(row["sum"])
    squares = (int(row["high"]) << 32) + int(row["low"])
    # The difference is taken of whole numbers: of rounded ones it may be anything where values differ little.
    return total / (count * scale), math.sqrt(count * squares - total * total) / (count * scale)


def _neighbours(found: Measures, size: tuple[float, ...]) -> dict[int, dict[int, float]]:
    """The area that each object shares with each that it touches."""
    areas = [math.prod(size) / length for length in size]
    faces: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in found.faces:
        faces[int(row["u"]), int(row["v"])][int(row["axis"])] += int(row["faces"])
    touching: dict[int, dict[int, float]] = defaultdict(dict)
    for (one, other), counts in faces.items():
        area = sum(count * by for count, by in zip(counts, areas, strict=True))
        touching[one][other] = area
        touching[other][one] = area
    return touching


def _write_csv(target: Path, names: list[str], entries: Iterator[ObjectRow]) -> None:
    def write(file: Any) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(entries)
        text.flush()
        text.detach()

    write_whole(target, write)


def _write_parquet(target: Path, names: list[str], entries: Iterator[ObjectRow]) -> None:
    arrow, parquet = _pyarrow()
    kept = list(entries)
    table = arrow.table({name: [entry[name] for entry in kept] for name in names})
    write_whole(target, lambda file: parquet.write_table(table, file))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        todo = 'pip install "contraband[export]", or write a .csv'
        raise BadInput("pyarrow", "is not installed, and Parquet needs it", todo=todo) from None
    return pyarrow, parquet
