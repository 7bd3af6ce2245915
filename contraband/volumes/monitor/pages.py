"""The page of a run, on the scheduler's web server or on one of its own."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
from tornado.web import Application, HTTPError, RequestHandler

from blockwise.errors import BlockwiseError
from contraband.volumes.monitor.facts import STATES, Facts
from contraband.volumes.monitor.peers import is_ours
from contraband.volumes.monitor.terminal import as_prometheus

ROOT = "/contraband/"
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'"
"""Browsers load nothing from elsewhere, whatever a page asks for."""
MOST_LOST = 20
"""So many lost workers are listed, the last ones."""
SENT_BY_US = "X-Contraband"
"""A header that pages of other servers may not send, so that none of them can push our buttons."""


def pages(facts: Facts) -> Application:
    """The routes: the page at /contraband/, what it asks for, and /contraband/metrics for Prometheus."""
    chosen = {"facts": facts}
    routes: list[Any] = [
        (ROOT, Page, chosen),
        (f"{ROOT}facts", Stages, chosen),
        (f"{ROOT}plane", Plane, chosen),
        (f"{ROOT}block", OneBlock, chosen),
        (f"{ROOT}again", Again, chosen),
        (f"{ROOT}metrics", Metrics, chosen),
    ]
    return Application(routes)


class Handler(RequestHandler):
    """What all have in common: the facts are read in a thread, so that a scheduler is not held up."""

    def initialize(self, facts: Facts) -> None:
        """Called by tornado for each request."""
        self.facts = facts
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-store")

    async def read(self, ask: Callable[[], Any]) -> Any:
        """What `ask` gives; what it refuses is a 400 with its line."""
        try:
            return await asyncio.to_thread(ask)
        except (BlockwiseError, ValueError) as error:
            line = " ".join(str(error).split()).encode("latin-1", "replace").decode("latin-1")
            raise HTTPError(400, "%s", line, reason=line) from None

    def whole(self, name: str) -> int:
        """A number of the query."""
        try:
            return int(self.get_query_argument(name))
        except ValueError:
            raise HTTPError(400, reason=f"{name} is no whole number") from None


class Page(Handler):
    """The page itself."""

    def get(self) -> None:
        """HTML, complete in one file."""
        self.finish(files("contraband.volumes.monitor").joinpath("page.html").read_bytes())


class Stages(Handler):
    """How far each stage is."""

    async def get(self) -> None:
        """JSON: the rows, and how each stage is cut; the workers that were lost."""
        rows = await self.read(self.facts.stages)
        lost = await self.read(self.facts.lost_workers)
        grids = {row["stage"]: self.facts.grid(row["stage"]) for row in rows}
        told = [{**row, "counts": grids[row["stage"]].counts, "block": grids[row["stage"]].block} for row in rows]
        output = str(self.facts.settings.output)
        self.finish({"output": output, "states": STATES, "stages": told, "lost_workers": lost[-MOST_LOST:]})


class Plane(Handler):
    """The blocks of one layer."""

    async def get(self) -> None:
        """JSON: (y, x) arrays as base64, states as bytes, times and memory as little-endian float32."""
        stage, z = self.get_query_argument("stage"), self.whole("z")
        found = await self.read(lambda: self.facts.plane(stage, z))
        self.finish(
            {
                "state": _packed(found["state"], "u1"),
                "seconds": _packed(found["seconds"], "<f4"),
                "bytes": _packed(found["bytes"], "<f4"),
            }
        )


class OneBlock(Handler):
    """All about one block."""

    async def get(self) -> None:
        """JSON; for our own user also where a viewer is open."""
        stage, key = self.get_query_argument("stage"), self.whole("key")
        found = await self.read(lambda: self.facts.block(stage, key))
        connection = getattr(getattr(self.request.connection, "stream", None), "socket", None)  # none once closed
        may_view = connection is not None and await self.read(lambda: is_ours(connection))
        self.finish({**found, "viewer": await self.read(self.facts.viewer) if may_view else None})


class Again(Handler):
    """The button of a block that was given up."""

    async def post(self) -> None:
        """Have it tried again; answers with what is known of it afterwards."""
        if SENT_BY_US not in self.request.headers:
            raise HTTPError(403, reason="only the page itself may do this")
        wanted = json.loads(self.request.body)
        await self.read(lambda: self.facts.try_again(str(wanted["stage"]), int(wanted["key"])))
        self.finish(await self.read(lambda: self.facts.block(str(wanted["stage"]), int(wanted["key"]))))


class Metrics(Handler):
    """For Prometheus."""

    async def get(self) -> None:
        """Its text format."""
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        rows = await self.read(self.facts.stages)
        self.finish(as_prometheus(rows, len(await self.read(self.facts.lost_workers))))


def _packed(data: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(data, kind).tobytes()).decode("ascii")
