"""Who asks: a page on 127.0.0.1 can be opened by everybody on the machine, and not all is for everybody."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_TABLE = Path("/proc/net/tcp")


def is_ours(peer: tuple[str, int]) -> bool:
    """Whether the other end of a connection from this machine is a process of our user, as its tunnel is, too.

    peer: its IPv4 address and port. False where that cannot be known.
    """
    try:
        host = socket.inet_aton(peer[0])[::-1].hex().upper()  # as the kernel writes it on machines of today
        rows = [line.split() for line in _TABLE.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return False
    wanted = f"{host}:{peer[1]:04X}"
    return any(row[1] == wanted and int(row[7]) == os.getuid() for row in rows)
