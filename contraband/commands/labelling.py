"""The command that labels a volume in the browser."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from contraband.commands.screen import Assignments, SettingsFile, place

TrainedBy = Annotated[
    Path | None,
    typer.Option(help="How it is trained: a param_dict.json that is no grid; default: as fits most.", callback=place),
]


def label(
    settings_file: SettingsFile,
    points: Annotated[
        Path | None,
        typer.Option(help="CSV of points, made or gone on with; default: beside the volume.", callback=place),
    ] = None,
    head: Annotated[
        Literal["forest", "logistic"], typer.Option(help="What learns from the points; a forest takes longer.")
    ] = "logistic",
    features: Annotated[
        Literal["gaussian", "embeddings", "both"] | None,
        typer.Option(help="What it is shown of a voxel; default: embeddings if there is an encoder."),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(help="Where embeddings come from: a checkpoint, or the folder of some.", callback=place),
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            help="Output that holds embeddings (`contraband embed`), which are read instead of computed where one "
            "looks; default: the volume's own output, if it has some.",
            callback=place,
        ),
    ] = None,
    stretch: Annotated[
        Literal["section", "volume"] | None,
        typer.Option(help="Stretch raw between percentiles of each section, where exposure differs, or of the volume."),
    ] = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train", help="Also train a network in a process of its own, which takes over once it is better."
        ),
    ] = False,
    params: TrainedBy = None,
    bind: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 0,
    assignments: Assignments = None,
) -> None:
    """Label a volume in the browser by a few clicks, and see after each what they make of it.

    Of another machine: contraband label vol.yaml --port 8080 there, ssh -L 8080:localhost:8080 HOST here.

    Example: contraband label vol.yaml
    """
    from blockwise.settings import override, read_yaml
    from contraband.label.labelling import GivenFiles
    from contraband.label.labelling import label as serve
    from contraband.label.settings import LabelSettings

    data = override(read_yaml(settings_file), assignments or ())
    learning = LabelSettings(
        head=head, features=features or ("embeddings" if encoder else "gaussian"), encoder=encoder, stretch=stretch
    )
    begin = None
    if train or params is not None:
        from contraband.experiments.behind.background import behind

        begin = partial(behind, data, learning, params)
    serve(settings_file, data, learning, GivenFiles(points, embeddings), (bind, port), begin)
