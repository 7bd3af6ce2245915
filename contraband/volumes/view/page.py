"""The page around the viewer: a slider for the threshold, the objects, and places to look at."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from tornado.web import HTTPError, RequestHandler

from blockwise.errors import BadInput
from contraband.volumes.view.viewer import RunViewer

POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:"
"""Browsers load nothing from elsewhere, whatever a page asks for."""


def add_page(viewer: RunViewer) -> str:
    """Serve the page beside the viewer; returns its address, which nobody can guess."""
    from neuroglancer import server

    running = server.global_server
    root = f"/view/{viewer.viewer.token}"
    chosen = {"viewer": viewer}
    routes = [
        (f"{root}/", ViewerPage, chosen),
        (f"{root}/facts", ViewerFacts, chosen),
        (f"{root}/change", ViewerChange, chosen),
    ]
    running.app.add_handlers(".*", routes)
    return f"{running.server_url}{root}/"


class ViewerHandler(RequestHandler):
    """What all have in common."""

    def initialize(self, viewer: RunViewer) -> None:
        """Called by tornado for each request."""
        self.viewer = viewer
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-store")


class ViewerPage(ViewerHandler):
    """The page itself."""

    def get(self) -> None:
        """HTML, complete in one file."""
        text = files("contraband.volumes.view").joinpath("page.html").read_text(encoding="utf-8")
        self.finish(text.replace("{{viewer}}", f"/v/{self.viewer.viewer.token}/"))


class ViewerFacts(ViewerHandler):
    """What the page shows."""

    def get(self) -> None:
        """JSON."""
        self.finish(json.dumps(self.viewer.facts()))


class ViewerChange(ViewerHandler):
    """What people do on the page: one key each, and its value."""

    def post(self) -> None:
        """Do it; answers with the facts afterwards, or 400 and a line that says what is wrong."""
        try:
            wanted = json.loads(self.request.body)
            for name, value in wanted.items():
                self._do(name, value)
        except (BadInput, ValueError, TypeError, KeyError, AttributeError) as error:
            raise HTTPError(400, "%s", error, reason=_one_line(error)) from None
        self.finish(json.dumps(self.viewer.facts()))

    def _do(self, name: str, value: Any) -> None:
        if name == "threshold":
            self.viewer.set_threshold(float(value))
        elif name == "finer":
            self.viewer.cut_finer(int(value["object"]), float(value["threshold"]))
        elif name == "surfaces":
            self.viewer.renew_surfaces()
        elif name == "choose":
            self.viewer.choose(int(value["object"]), bool(value["chosen"]))
        elif name == "place":
            self.viewer.go([float(at) for at in value])
        else:
            raise BadInput("change", "unknown", got=name, wanted="threshold, finer, surfaces, choose, place")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).encode("latin-1", "replace").decode("latin-1")
