"""Who asks: a page on 127.0.0.1 can be opened by everybody on the machine, and not all is for everybody."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_TABLE = Path("/proc/net/tcp")


def is_ours(connection: socket.socket) -> bool:
    """Whether a process of our user, as its tunnel is, too, holds the other end of a connection from this machine.

    connection: its end here, over IPv4. False where that cannot be known.
    """
    try:
        # Both ends name it: a port may serve several connections, and one that is over is root's in the kernel's table.
        wanted = [_as_the_kernel(connection.getpeername()), _as_the_kernel(connection.getsockname())]
        rows = [line.split() for line in _TABLE.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return False
    return any(row[1:3] == wanted and int(row[7]) == os.getuid() and row[9] != "0" for row in rows)


def _as_the_kernel(end: tuple[str, int]) -> str:
    """An address and a port, as it writes them on machines of today."""
    return f"{socket.inet_aton(end[0])[::-1].hex().upper()}:{end[1]:04X}"
