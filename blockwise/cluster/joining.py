"""A scheduler that is there already: found out in time whether one answers, and if not, what is there instead."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from blockwise.cluster.address import PORT
from blockwise.cluster.quiet import muted
from blockwise.errors import BadInput, one_line

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

_CONNECT_S = 3
_GREETING_S = 2
_ANSWER_S = 6
"""All together at most twelve seconds."""
_JOIN_S = 10


def joined(address: str, security: Security | None = None) -> Client:
    """A client of the scheduler at an address; BadInput within 15 s if none answers there.

    security: certificates; None: those of Dask's configuration, if there are any.
    """
    from distributed import Client

    check_scheduler(address, security)
    with muted():
        try:
            return Client(address, timeout=_JOIN_S, set_as_default=False, security=security)
        except Exception as error:  # a scheduler of another version fails in its own ways
            raise _no_scheduler(address, one_line(str(error)) or type(error).__name__) from None


def check_scheduler(address: str, security: Security | None = None) -> None:
    """Raise BadInput unless a Dask scheduler answers at the address; takes some seconds at most.

    Dask's own client waits for ever for a server that is none, and gives up on others only after minutes.
    """
    found = urlsplit(address)
    if found.hostname and found.port and found.scheme in ("tcp", "tls"):
        reason = _look(found.hostname, found.port)
        if reason:
            raise _no_scheduler(address, reason)
    with muted(), ThreadPoolExecutor(1) as thread:  # a notebook has a running loop in the main thread
        try:
            kind = thread.submit(asyncio.run, _kind(address, security)).result()
        except TimeoutError:
            raise _no_scheduler(address, f"no answer within {_ANSWER_S} s; something else listens there") from None
        except Exception as error:
            raise _no_scheduler(address, one_line(str(error)) or type(error).__name__) from None
    if kind != "Scheduler":
        raise _no_scheduler(address, f"it is that of a Dask {kind.lower()}")


def _no_scheduler(address: str, reason: str) -> BadInput:
    todo = f"start `dask scheduler`, or correct the address: a scheduler's port is usually {PORT}, its dashboard's 8787"
    return BadInput("cluster.address", f"no Dask scheduler answers at {address} ({reason[:300]})", todo=todo)


def _look(host: str, port: int) -> str:
    """Why there can be no scheduler at a port; nothing if there may be one.

    A Dask server speaks first, a web server waits to be asked.
    """
    try:
        connection = socket.create_connection((host, port), timeout=_CONNECT_S)
    except socket.gaierror:
        return f"the host {host} is unknown"
    except TimeoutError:
        return f"the host {host} does not answer"
    except OSError as error:
        return error.strerror or str(error)
    said = b""
    with connection, suppress(OSError):
        connection.settimeout(_GREETING_S)
        try:
            said = connection.recv(8)
        except TimeoutError:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            said = connection.recv(8)
    if said.startswith(b"HTTP/"):
        return "a web server is there"
    # What a Dask server says first is the length of its greeting; others greet in words.
    return (
        f"a server is there that says {said.decode()!r}"
        if said and said.isascii() and said.decode().isprintable()
        else ""
    )


def _kind(address: str, security: Security | None) -> Coroutine[Any, Any, str]:
    """What a Dask server says that it is."""
    from distributed.core import rpc
    from distributed.security import Security

    async def ask() -> str:
        given = (security or Security()).get_connection_args("client")
        async with rpc(address, timeout=_ANSWER_S, connection_args=given) as server:
            return str((await server.identity())["type"])

    return asyncio.wait_for(ask(), _ANSWER_S)
