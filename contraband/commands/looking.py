"""Commands that look at a run, also while it goes on: status, dashboard, view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blockwise.errors import BadInput
from contraband import interface
from contraband.commands.screen import AsJson, Assignments, SettingsFile, console, emit, place

Bind = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]


def status(
    settings_file: SettingsFile,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until all is done.")] = False,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Show how many blocks of every stage are done, as the store remembers, and which workers were lost.

    Example: contraband status configs/gala.yaml --watch
    """
    settings = interface.load_settings(settings_file, assignments or ())
    from contraband.volumes.line import stages
    from contraband.volumes.monitor.facts import Facts
    from contraband.volumes.monitor.terminal import print_status, watched

    facts = Facts(settings, stages(settings))
    for rows in watched(facts) if watch else [interface.status(settings)]:
        if watch and console().is_terminal:
            console().clear()
        lost = facts.lost_workers()
        print_status(console(), rows, lost)
        emit(as_json, {"stages": rows, "lost_workers": lost})


def dashboard(
    settings_file: SettingsFile,
    bind: Bind = "127.0.0.1",
    port: Port = 0,
    assignments: Assignments = None,
) -> None:
    """Print where the pages of a run that goes on here are: ours and Dask's; else serve ours from the store.

    Example: contraband dashboard configs/gala.yaml
    """
    from contraband.volumes.belonging import is_store_there
    from contraband.volumes.run import running_dashboards

    settings = interface.load_settings(settings_file, assignments or ())
    addresses = running_dashboards(settings)
    for address in addresses:
        typer.echo(address)
    if any("/contraband/" in address for address in addresses):
        return
    if not is_store_there(settings.store_url):
        raise BadInput(settings.output, "no run is going on", todo=f"start one: contraband run {settings_file}")
    from contraband.volumes.line import stages
    from contraband.volumes.monitor.facts import Facts
    from contraband.volumes.monitor.serving import serve, tunnel

    def say_where(address: str) -> None:
        typer.echo(f"{address}  (Ctrl-C ends)")
        typer.echo(f"from another machine: {tunnel(address)}, then the same address there")

    serve(Facts(settings, stages(settings)), bind, port, say_where)


def view(
    settings_file: SettingsFile,
    bind: Bind = "127.0.0.1",
    port: Port = 0,
    png: Annotated[
        Path | None, typer.Option(help="Write the middle plane as a picture instead.", metavar="FILE", callback=place)
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Show a run in the browser (neuroglancer), with a slider for the threshold; also while it goes on.

    Example: contraband view configs/gala.yaml
    """
    settings = interface.load_settings(settings_file, assignments or ())
    if png is None:
        from contraband.volumes.view.command import view as show

        show(settings, bind=bind, port=port)
        return
    from contraband.volumes.figures import slices
    from contraband.volumes.view.picture import panels

    check_picture(png)
    slices(png, panels(settings))
    typer.echo(png)


def check_picture(path: Path) -> None:
    """Raise BadInput unless a picture can be written there."""
    if path.suffix.lower() != ".png":
        raise BadInput("--png", "is no name of a PNG", got=path, wanted="....png")
    if not path.absolute().parent.is_dir():
        raise BadInput("--png", "its folder is not there", got=path, todo=f"mkdir -p {path.parent}")
