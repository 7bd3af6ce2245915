"""An S3 server in a process of its own, and a proxy before it at which requests fail as a script says."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.servers import free_port, wait_for_port

BUCKET = "volumes"
KEY, SECRET = "a-known-key", "a-secret-that-is-nowhere"

Reach = Callable[[str, str, int], bool]

OF_THE_CONNECTION = ("connection", "transfer-encoding")
"""Headers that are not handed on."""
DENIED = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidAccessKeyId</Code>'
    "<Message>The AWS Access Key Id you provided does not exist in our records.</Message></Error>"
)


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """The endpoint of a server that keeps one bucket in a folder, for as long as the context lasts."""
    (folder / BUCKET).mkdir(parents=True)
    port = free_port()
    with (folder.parent / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "localbucket", str(folder), "--port", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for_port(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def environment(endpoint: str, key: str = KEY) -> dict[str, str]:
    """The variables by which the server at an endpoint is used."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return own | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


class Proxy(ThreadingHTTPServer):
    """Hands requests on to a server, but each `every`-th one meets the next fault of a script, over and over.

    Faults: "503" and "429" are answered and not handed on; "torn" hangs up on a request, half of it read; "cut" hangs
    up half-way through the answer; "lost" hangs up when the request has been carried out; "slow" answers a second
    later. Requests of another key than KEY are refused, as the server itself asks for none.
    """

    daemon_threads = True

    def __init__(self, endpoint: str, faults: Sequence[str] = (), every: int = 7) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = endpoint.removeprefix("http://")
        self.script = tuple(faults)
        self.every = every
        self.reach: Reach = not_now
        """Is called with the path of a PUT, "torn" when half of it has come or "lost" when it has been carried out, and
        the port of the client; returns whether the client is dead now."""
        self.met: Counter[str] = Counter()
        """How often each fault was met."""
        self.requests: Counter[tuple[str, str]] = Counter()
        """How often each method and path came in."""
        self.ranges: Counter[tuple[str, str]] = Counter()
        """How often each path was read, and which range of it; none if all of it."""
        self.allowed: int | None = None
        """After so many requests the key is refused; None: never."""
        self.sent_bytes = 0
        """Of answers to GET that were no errors."""
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def next_fault(self, method: str, path: str) -> str | None:
        """What this request meets."""
        with self._lock:
            self.requests[method, path] += 1
            number, is_due = divmod(self.requests.total(), self.every)
            if is_due or not self.script:
                return None
            fault = self.script[number % len(self.script)]
            self.met[fault] += 1
            return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Who hangs up on us is not reported."""


def not_now(path: str, moment: str, port: int) -> bool:
    """Nothing happens within a PUT unless a test says otherwise."""
    return False


@contextmanager
def proxy(endpoint: str, faults: Sequence[str] = (), every: int = 7) -> Iterator[Proxy]:
    """A proxy that serves as long as the context lasts."""
    with Proxy(endpoint, faults, every) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def handle_any(self) -> None:
        fault = self.server.next_fault(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if fault == "torn":
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length // 2)
        if self.reach("torn"):
            # S3 refuses half a body; the server that stands in for it would store it.
            self.close_connection = True
            return
        body += self.rfile.read(length - length // 2)
        is_known = f"Credential={KEY}/" in self.headers.get("Authorization", "")
        allowed = self.server.allowed
        if not is_known or (allowed is not None and self.server.requests.total() > allowed):
            self.answer(403, {}, DENIED.encode())
        elif fault in ("503", "429"):
            self.answer(int(fault), {}, b"<Error><Code>SlowDown</Code></Error>")
        else:
            time.sleep(fault == "slow")
            self.hand_on(body, fault)

    def count(self, status: int, data: bytes) -> None:
        """Note what was read."""
        if self.command == "GET" and status < 300:
            self.server.ranges[self.path, self.headers.get("Range", "")] += 1
            self.server.sent_bytes += len(data)

    def reach(self, moment: str) -> bool:
        """Let what is planned within a PUT happen; whether the client is dead now."""
        return self.command == "PUT" and self.server.reach(self.path, moment, self.client_address[1])

    def __getattr__(self, name: str) -> Callable[[], None]:
        """All methods are handled alike."""
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def hand_on(self, body: bytes, fault: str | None) -> None:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        self.count(answer.status, data)
        if self.reach("lost") or fault == "lost":
            self.close_connection = True
            return
        self.answer(answer.status, dict(answer.getheaders()), data, is_cut=fault == "cut")

    def answer(self, status: int, headers: dict[str, str], data: bytes, is_cut: bool = False) -> None:
        self.send_response_only(status)
        own = {name.lower(): value for name, value in headers.items() if name.lower() not in OF_THE_CONNECTION}
        if self.command != "HEAD":
            own["content-length"] = str(len(data))
        for name, value in own.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if is_cut else data if self.command != "HEAD" else b"")
        self.close_connection = self.close_connection or is_cut

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""
