"""Commands that look after what runs have left: clean, log."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from contraband import interface
from contraband.commands.screen import AsJson, Assignments, SettingsFile, emit


def clean(
    settings_file: SettingsFile,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; on a terminal only is asked at all.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Name what would be removed, and remove nothing.")] = False,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Remove a run's output together with its progress in the store, and nothing that it has not made.

    Example: contraband clean configs/gala.yaml
    """
    from contraband.volumes.clean import clean as remove
    from contraband.volumes.clean import remains

    found = remains(interface.load_settings(settings_file, assignments or ()))
    for line in found.lines:
        typer.echo(line)
    if not found.is_anything:
        typer.echo("nothing to remove")
    wanted = found.is_anything and not dry_run
    if wanted and not yes and sys.stdin is not None and sys.stdin.isatty():
        wanted = typer.confirm("remove it?")
    if wanted:
        remove(found)
    removed = [str(path) for path in found.made] if wanted else []
    emit(as_json, {"removed": removed, "kept": [str(path) for path in found.others]})


def log(
    settings_file: SettingsFile,
    block: Annotated[str, typer.Option("--block", metavar="Z,Y,X", help="The block, counted in blocks from 0.")],
    stage: Annotated[str | None, typer.Option("--stage", help="Only of this stage.")] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Print what was logged of one block in each stage, and how it failed if it did.

    Example: contraband log configs/gala.yaml --block 3,0,7 --stage edges
    """
    from contraband.volumes.blocklogs import block_logs, log_lines, place_of
    from contraband.volumes.line import stages

    place = place_of(block)
    settings = interface.load_settings(settings_file, assignments or ())
    found = block_logs(settings, stages(settings), place, stage)
    for line in log_lines(found):
        typer.echo(line)
    emit(as_json, {"stages": found})
