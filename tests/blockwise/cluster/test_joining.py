"""A scheduler that is there already: joined if there is one, refused in time and by name if not."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import dask
import pytest

from blockwise.cluster import open as cluster
from blockwise.cluster.address import scheduler_address
from blockwise.cluster.open import dashboard_address, open_cluster
from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput
from tests.support.servers import free_port

LIMIT_S = 15
SERVER = """
import asyncio, sys
from distributed import Nanny, Scheduler, Worker

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard="web" in sys.argv, dashboard_address="127.0.0.1:0") as one:
        async with Worker(one.address, host="127.0.0.1", dashboard=False) if "worker" in sys.argv else one as worker:
            print(one.address, worker.address, one.http_server.port, flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def scheduler(*options: str) -> Iterator[tuple[str, str, int]]:
    """A process with a scheduler, and if wished a worker; their addresses, and the port of the dashboard."""
    command = [sys.executable, "-c", SERVER, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            address, worker, port = process.stdout.readline().split()
            yield address, worker, int(port)
        finally:
            process.kill()


@contextmanager
def web_server() -> Iterator[str]:
    """The address of a server of web pages."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{web.server_port}"
        web.shutdown()


@contextmanager
def listener(answer: bytes | None = None) -> Iterator[str]:
    """The address of a server that accepts and says nothing, or always the same."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            kept.append(connection)
            connection.sendall(answer or b"")

    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


@contextmanager
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    yield f"tcp://127.0.0.1:{free_port()}"


@contextmanager
def unknown_host() -> Iterator[str]:
    """A host that there is not."""
    yield "tcp://no.such.host.invalid:8786"


@contextmanager
def dashboard() -> Iterator[str]:
    """The port of a dashboard in place of the scheduler's."""
    with scheduler("web") as (_, _, port):
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def worker() -> Iterator[str]:
    """The address of a worker in place of its scheduler's."""
    with scheduler("worker") as (_, address, _):
        yield address


OTHERS: dict[str, tuple[Callable[[], object], str]] = {
    "nobody": (nobody, "refused"),
    "an unknown host": (unknown_host, "no.such.host.invalid is unknown"),
    "a web server": (web_server, "a web server is there"),
    "a dashboard": (dashboard, "a web server is there"),
    "a server that says nothing": (listener, "something else listens there"),
    "a mail server": (lambda: listener(b"220 mail ESMTP ready\r\n"), "a server is there that says '220 mail'"),
    "zeros": (lambda: listener(bytes(64)), "cluster.address"),
    "a worker": (worker, "it is that of a Dask worker"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_address_without_a_scheduler_is_refused_in_time(name):
    """In one line that names the address and says what is there; Dask itself waits for ever for some of these."""
    other, words = OTHERS[name]
    with ExitStack() as stack:
        address = str(stack.enter_context(other()))  # type: ignore[arg-type]
        begin = time.monotonic()
        with (
            pytest.raises(BadInput, match="no Dask scheduler answers") as caught,
            open_cluster(Cluster(address=address)),
        ):
            pass
        assert time.monotonic() - begin < LIMIT_S
    assert address in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scheduler_is_joined_and_tells_its_dashboard():
    """The one that is there, with its workers."""
    with scheduler("web", "worker") as (address, _, port), open_cluster(Cluster(address=address)) as client:
        assert len(client.scheduler_info()["workers"]) == 1
        assert dashboard_address(client) == f"http://127.0.0.1:{port}/status"


def test_a_scheduler_without_a_dashboard_is_joined():
    """Also where a link is set up for a dashboard behind a JupyterHub that is not here."""
    with (
        dask.config.set({"distributed.dashboard.link": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"}),
        scheduler("worker") as (address, _, _),
        open_cluster(Cluster(address=address)) as client,
    ):
        dashboard_address(client)


def test_waiting_for_a_worker_is_said_and_ends(monkeypatch, caplog):
    """A scheduler without workers: a line every quarter of a minute, and after a minute the end (here: shorter)."""
    monkeypatch.setattr(cluster, "_SAY_S", 0.5)
    monkeypatch.setattr(cluster, "_FIRST_WORKER_S", 2)
    with (
        scheduler() as (address, _, _),
        caplog.at_level(logging.WARNING),
        pytest.raises(BadInput, match=r"no worker came within 2 s.*dask worker"),
        open_cluster(Cluster(address=address)),
    ):
        pass
    assert len([line for line in caplog.messages if "waiting for the first worker" in line]) >= 2


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (None, None),
        ("tcp://host:8786", "tcp://host:8786"),
        ("host:8786", "tcp://host:8786"),
        (" 10.0.0.5:1 ", "tcp://10.0.0.5:1"),
        ("tcp://[::1]:8786/", "tcp://[::1]:8786"),
        ("tls://host:8786", "tls://host:8786"),
        ("inproc://10.0.0.5/1/2", "inproc://10.0.0.5/1/2"),
    ],
)
def test_an_address_is_understood_with_and_without_its_protocol(text, address):
    """As Dask prints it, or as people write it."""
    assert scheduler_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "tcp://host",
        "tcp://host:99999",
        "tcp://host:port",
        "tcp://:8786",
        "http://host:8787/status",
        "https://hub/user/proxy/8787",
        "tcp://host:8786/status",
        "ftp://host:21",
        "[::1:8786",
    ],
)
def test_what_is_no_address_is_refused_with_the_settings(text):
    """Before anything is tried, with an example."""
    with pytest.raises(BadInput, match=r"cluster: address: no address of a Dask scheduler.*tcp://host:8786"):
        Cluster.parse({"address": text}, "cluster")
