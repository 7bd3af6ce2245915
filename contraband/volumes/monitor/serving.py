"""Where the page of a run is served: beside Dask's pages while it runs, else by a server of its own."""

from __future__ import annotations

import asyncio
import errno
import getpass
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer

from blockwise.errors import BadInput
from contraband.volumes.monitor.facts import Facts
from contraband.volumes.monitor.pages import ROOT, pages

CLOSE_S = 5.0


def serve_beside(client: Any, dashboard: str, facts: Facts) -> str | None:
    """Add the page to the web server of the scheduler; its address, None if the scheduler is in another process.

    dashboard: the address of Dask's own pages, empty if there are none.
    """
    scheduler = getattr(getattr(client, "cluster", None), "scheduler", None)
    server = getattr(scheduler, "http_application", None)
    if not dashboard or server is None:
        return None
    server.add_application(pages(facts))
    place = urlsplit(dashboard)
    return f"{place.scheme}://{place.netloc}{ROOT}"


def serve(facts: Facts, bind: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until interrupted; `ready` is told the address. Raises BadInput if the port is taken."""
    try:
        asyncio.run(_serve(facts, bind, port, ready))
    except KeyboardInterrupt:
        return


@contextmanager
def served_here(facts: Facts) -> Iterator[str]:
    """Serve the page from a thread of this process, at a free port of this machine; its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="page", daemon=True)
    thread.start()
    server, address = asyncio.run_coroutine_threadsafe(_listen(facts, "127.0.0.1", 0), loop).result()
    try:
        yield address
    finally:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_close(server), loop).result(CLOSE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def not_listening(bind: str, port: int, error: OSError) -> BadInput:
    """Why nothing can be served: an address that is none of this machine, or a port that is taken or reserved."""
    text = f"cannot listen on {bind}:{port} ({error.strerror or error})"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return BadInput("--bind", text, wanted="an address of this machine, such as 127.0.0.1 or 0.0.0.0")
    return BadInput("--port", text, todo="use --port 0")


async def _listen(facts: Facts, bind: str, port: int) -> tuple[HTTPServer, str]:
    try:
        server = pages(facts).listen(port, bind)
    except OSError as error:
        raise not_listening(bind, port, error) from None
    sockets = list(server._sockets.values())
    taken = sockets[0].getsockname()[1]
    return server, f"http://{bind}:{taken}{ROOT}"


async def _close(server: HTTPServer) -> None:
    server.stop()
    await server.close_all_connections()


async def _serve(facts: Facts, bind: str, port: int, ready: Callable[[str], None]) -> None:
    server, address = await _listen(facts, bind, port)
    ready(address)
    try:
        await asyncio.Event().wait()
    finally:
        server.stop()


def tunnel(address: str) -> str:
    """The command that brings the port of this machine to the one where the browser is."""
    place = urlsplit(address)
    return f"ssh -N -L {place.port}:{place.netloc} {getpass.getuser()}@{socket.getfqdn()}"
