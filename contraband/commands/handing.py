"""Commands that hand a result on to other programs: export, objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from contraband import interface
from contraband.commands.screen import AsJson, Assignments, SettingsFile, emit, place

Thresholds = Annotated[list[float] | None, typer.Option("--threshold", help="Threshold from 0 to 1; may be repeated.")]


def export(
    settings_file: SettingsFile,
    target: Annotated[
        Path, typer.Argument(help="New ....zarr (OME-Zarr), ....tif, ....precomputed, or folder.", callback=place)
    ],
    threshold: Thresholds = None,
    raw: Annotated[bool, typer.Option("--raw/--no-raw", help="With raw, where the format has room for it.")] = True,
    compact: Annotated[
        bool, typer.Option("--compact", help="Segments are called 1 to n, in the smallest type.")
    ] = False,
    ome: Annotated[Literal["0.4", "0.5"], typer.Option(help="Version of OME-Zarr.")] = "0.5",
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Write segments and raw for other programs: OME-Zarr with pyramids, TIFF, or Neuroglancer precomputed.

    Of a folder of images that `start` began with, a folder gets a TIFF for each image, of its size.

    Example: contraband export configs/gala.yaml out/gala.ome.zarr --threshold 0.4
    """
    extra = [f"segment.thresholds={sorted(threshold)}"] if threshold else []
    settings = interface.load_settings(settings_file, [*(assignments or ()), *extra])
    made = interface.export(settings, target, raw=raw, compact=compact, ome_version=ome)
    typer.echo(made)
    emit(as_json, {"export": str(made), "thresholds": list(settings.segment.thresholds)})


def objects(
    settings_file: SettingsFile,
    target: Annotated[Path, typer.Argument(help="New ....csv or ....parquet.", callback=place)],
    threshold: Annotated[float | None, typer.Option(help="Threshold from 0 to 1.")] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Write a table of the segments: size, place, box, brightness, neighbours with contact area.

    Example: contraband objects configs/gala.yaml out/gala.csv --threshold 0.4
    """
    from contraband.volumes.offered import objects as write

    settings = interface.load_settings(settings_file, assignments or ())
    count = write(settings, target, threshold=threshold)
    typer.echo(f"{target}: {count} objects")
    emit(as_json, {"table": str(target), "objects": count})
