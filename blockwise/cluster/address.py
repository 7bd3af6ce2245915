"""Where a scheduler is, as it is written in settings."""

from __future__ import annotations

from urllib.parse import urlsplit

PORT = 8786
"""On which a scheduler listens unless it is told otherwise."""
_WITH_PORT = ("tcp", "tls", "ws", "wss")
_OTHERS = ("ucx", "ucxx", "inproc")


def scheduler_address(text: str | None) -> str | None:
    """The address as Dask wants it, `tcp://host:port`; raises ValueError if it cannot be that of a scheduler."""
    if text is None:
        return None
    address = text.strip() if "://" in text else f"tcp://{text.strip()}"
    wanted = f"no address of a Dask scheduler, such as tcp://host:{PORT}"
    try:
        found = urlsplit(address)
        host, port = found.hostname, found.port
    except ValueError as error:
        raise ValueError(f"{wanted} ({error})") from None
    if found.scheme in ("http", "https"):
        raise ValueError(f"{wanted}; this one is of a web page, such as Dask's dashboard")
    if found.scheme in _OTHERS:
        return address
    if found.scheme not in _WITH_PORT or not host or found.path.strip("/") or found.query:
        raise ValueError(wanted)
    if not port:
        raise ValueError(f"{wanted}; the port is missing")
    return address.rstrip("/")


def is_loopback(address: str) -> bool:
    """Whether a scheduler or worker can only be on this machine: its host is 127.x.y.z, localhost or ::1."""
    host = urlsplit(address).hostname or ""
    return address.startswith("inproc:") or host in ("localhost", "::1") or host.startswith("127.")
