"""The command that labels a volume in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from contraband.commands.screen import Assignments, SettingsFile


def label(
    settings_file: SettingsFile,
    points: Annotated[
        Path | None, typer.Option(help="CSV of points, made or gone on with; default: beside the volume.")
    ] = None,
    head: Annotated[
        Literal["forest", "logistic"], typer.Option(help="What learns from the points; a forest takes longer.")
    ] = "logistic",
    stretch: Annotated[
        Literal["section", "volume"] | None,
        typer.Option(help="Stretch raw between percentiles of each section, where exposure differs, or of the volume."),
    ] = None,
    bind: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 0,
    assignments: Assignments = None,
) -> None:
    """Label a volume in the browser by a few clicks, and see after each what they make of it.

    Of another machine: contraband label vol.yaml --port 8080 there, ssh -L 8080:localhost:8080 HOST here.

    Example: contraband label vol.yaml
    """
    from blockwise.settings import override, read_yaml
    from contraband.label.labelling import label as serve
    from contraband.label.session import LabelSettings

    data = override(read_yaml(settings_file), assignments or ())
    serve(settings_file, data, LabelSettings(head=head, stretch=stretch), points, (bind, port))
