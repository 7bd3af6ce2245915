"""`contraband view`: serve a run until it is interrupted."""

from __future__ import annotations

import time

import typer

from contraband.volumes.monitor.serving import tunnel
from contraband.volumes.output import Output
from contraband.volumes.settings import VolumeSettings
from contraband.volumes.view.notice import left_in
from contraband.volumes.view.page import add_page
from contraband.volumes.view.viewer import RunViewer, close_viewer

REFRESH_S = 2.0


def view(settings: VolumeSettings, bind: str = "127.0.0.1", port: int = 0) -> None:
    """Serve the run until interrupted; says where. Raises BadInput if there is nothing yet, or no neuroglancer."""
    viewer = RunViewer(settings, bind, port)
    address = add_page(viewer)
    typer.echo(f"{address}  (Ctrl-C ends; add #at=z,y,x for a voxel)")
    typer.echo(f"from another machine: {tunnel(address)}, then the same address there")
    with left_in(Output(settings.output), address):
        try:
            while True:
                time.sleep(REFRESH_S)
                viewer.refresh()
        except KeyboardInterrupt:
            close_viewer()
