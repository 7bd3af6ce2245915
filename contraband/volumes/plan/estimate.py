"""What a run would do: the tables of `plan`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from blockwise.arrays.volume import info
from blockwise.engine.preflight import stage_word
from blockwise.stage import Stage
from blockwise.stages.agglomerate.stage import Agglomerate
from contraband.volumes.plan.bill import Usage, billed, in_words, prices
from contraband.volumes.plan.forecast import Forecast
from contraband.volumes.tiles import work_per_voxel

LIBRARIES_BYTES = 230_000_000
"""What a worker takes before it does anything."""
BYTES_A_VOXEL = 40
"""Working memory a read voxel, channels and ids included; measured on the stages of blockwise."""
GRAPH_BYTES_A_VOXEL = 5
"""Of the merging, at the usual 0.02 edges a voxel."""


def outlook(line: Sequence[Stage]) -> list[dict[str, Any]]:
    """A row a stage: blocks, block shape, context, bytes read and written, files, memory of a worker; of agglomerate
    also into how many boxes its graph is cut, at the usual number of edges."""
    return [_outlook_row(stage) for stage in line]


def _outlook_row(stage: Stage) -> dict[str, Any]:
    grid = stage.grid()
    voxels = math.prod(grid.volume)
    inflation = grid.inflation()
    read_voxels = math.prod(
        min(step + low + high, size)
        for step, low, high, size in zip(grid.block, grid.context_low, grid.context_high, grid.volume, strict=True)
    )
    written = sum(_bytes_a_voxel(stage, target.path.name) for target in stage.outputs())
    around, inside = _bytes_read(stage)
    return {
        "stage": stage.name,
        "blocks": grid.count,
        "block_shape": list(grid.block),
        "context": [list(grid.context_low), list(grid.context_high)],
        "context_inflation": round(inflation, 4),
        "voxels": voxels,
        "files": grid.count * len(stage.outputs()),
        "bytes_read_raw": int((around * inflation + inside) * voxels),
        "bytes_written_raw": written * voxels,
        "worker_memory_bytes": LIBRARIES_BYTES + _working_bytes(stage, read_voxels),
        **_boxes(stage, voxels),
        **_work(stage),
    }


def _boxes(stage: Stage, voxels: int) -> dict[str, int]:
    """Into how many boxes the graph of the merging is cut, which are halved until they fit; nothing of other stages."""
    if not isinstance(stage, Agglomerate):
        return {}
    whole, limit = GRAPH_BYTES_A_VOXEL * voxels, stage.limit_bytes
    return {"boxes": 1 if limit is None else 2 ** max(0, math.ceil(math.log2(whole / limit)))}


def _work(stage: Stage) -> dict[str, Any]:
    """Of a prediction, what its tiles cost; nothing for other stages."""
    tile = getattr(stage, "tile", None)
    if tile is None:
        return {}
    grid = stage.grid()
    return {"tile": list(tile), **work_per_voxel(grid, tile, grid.context_low)}


def _working_bytes(stage: Stage, read_voxels: int) -> int:
    """Memory for one block; of the merging, for the whole graph or as much as it may take."""
    if not isinstance(stage, Agglomerate):
        return BYTES_A_VOXEL * read_voxels
    whole, limit = GRAPH_BYTES_A_VOXEL * read_voxels, stage.limit_bytes
    return whole if limit is None else min(whole, limit)


def _bytes_a_voxel(stage: Stage, name: str) -> int:
    known = {"affinities": 1, "embeddings": 2}
    return known[name] * int(getattr(stage, "channels", 3)) if name in known else 8


def _bytes_read(stage: Stage) -> tuple[int, int]:
    """Bytes a voxel that a stage reads with its context, and those that it reads of the block alone."""
    affinities = getattr(stage, "affinities", None)
    there = info(affinities) if affinities is not None and affinities.path.exists() else None
    channels = there.shape[0] * there.dtype.itemsize if there else 3
    given = sum(info(volume).dtype.itemsize for volume in stage.inputs() if volume != affinities)
    known = {
        "predict": (given, 0),
        "embed": (given, 0),
        "fragments": (channels + given, 0),
        "edges": (8, channels),
        "segment": (0, 8),
        "evaluate": (0, 8 + given),
    }
    return known.get(stage_word(stage.name), (0, 0))


def print_outlook(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The rows of `outlook` as a table."""
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in ("blocks", "block", "read/written", "files", "MB in (raw)", "MB out (raw)", "worker MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["stage"],
            f"{row['blocks']:,}",
            "x".join(map(str, row["block_shape"])),
            f"{row['context_inflation']:.2f}",
            f"{row['files']:,}",
            f"{row['bytes_read_raw'] / 1e6:,.1f}",
            f"{row['bytes_written_raw'] / 1e6:,.1f}",
            f"{row['worker_memory_bytes'] / 1e6:,.0f}",
        )
    console.print(table)
    for row in rows:
        if row.get("boxes", 1) > 1:
            console.print(f"{row['stage']}: about {row['boxes']:,} boxes, side by side, of a size that fits")
        if "tile" in row:
            console.print(
                f"{row['stage']}: tiles of {'x'.join(map(str, row['tile']))}; for each voxel written "
                f"{row['predicted_per_voxel']:.2f} are predicted, {row['shown_per_voxel']:.2f} shown to the network, "
                f"{row['read_per_voxel']:.2f} read"
            )


def print_forecast(console: Console, forecast: Forecast) -> None:
    """What the probe blocks say that the run will cost."""
    table = Table(box=None, pad_edge=False)
    table.add_column("predicted")
    for name in ("CPU s", "wall s", "worker MB", "MB out"):
        table.add_column(name, justify="right", no_wrap=True)
    start = forecast.startup
    table.add_row("start", f"{start.cpu_seconds:,.1f}", f"{start.wall_seconds:,.1f}", "", "")
    for name, row in [(stage.stage, stage) for stage in forecast.stages] + [("all", forecast)]:
        table.add_row(
            name,
            f"{row.cpu_seconds:,.1f}",
            f"{row.wall_seconds:,.1f}",
            f"{row.peak_rss_bytes / 1e6:,.0f}",
            f"{row.bytes_written / 1e6:,.1f}",
        )
    console.print(table)
    console.print(f"from {forecast.probes} blocks; {forecast.workers} at a time")
    bill = billed(usage_of(forecast), prices())
    console.print(f"by the assumptions of prices.yaml: {in_words(bill, prices().currency)}")
    for line in bill.breaks:
        console.print(f"breaks: {line}")


def usage_of(forecast: Forecast) -> Usage:
    """The forecast as what a bill is made from; of the driver nothing is known, since a probe asks little of it."""
    return Usage(
        voxels=forecast.voxels,
        cpu_seconds=forecast.cpu_seconds,
        driver_seconds=0,
        worker_bytes=forecast.peak_rss_bytes,
        driver_bytes=0,
        store_bytes=forecast.store_bytes,
        written_bytes=forecast.bytes_written,
        files=forecast.files,
    )
