"""What the commands share: arguments, the console, the last JSON line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

from blockwise.errors import BadInput


def place(path: Path | None) -> Path | None:
    """A path or address of the command line, ~ and ${NAME} replaced: a shell does not in quotes or after a =."""
    from blockwise.fields import expanded
    from blockwise.files.address import address_in, place_of

    try:
        return path and place_of(expanded(path))
    except ValueError as error:
        if path and address_in(path):
            raise BadInput("address", str(error)) from None
        raise BadInput(path, str(error), todo="set it, or write the path itself") from None


SettingsFile = Annotated[
    Path, typer.Argument(help="Settings of the volume, a YAML file.", metavar="VOLUME.yaml", callback=place)
]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in segment.thresholds=[0.4].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


def console() -> Console:
    """Where people read: stdout; wide enough for every table where the width is not a terminal's."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def emit(as_json: bool, data: dict[str, Any]) -> None:
    """The last line for programs, if it is wanted."""
    if as_json:
        typer.echo(json.dumps(data, allow_nan=False, default=str))
