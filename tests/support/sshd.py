"""A real SSH server of this machine, for tests, under names as of two others; says why where there is none."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.packages import one_installs
from tests.support.paths import ROOT
from tests.support.servers import free_port

HOSTS = ("one", "two")
"""What the server is called by clients that read the configuration in `home`."""
_INSTALL_S = 200
_START_S = 20

_SERVER = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile {folder}/pid
AuthorizedKeysFile {folder}/home/.ssh/user.pub
SetEnv PYTHONPATH={root}
StrictModes no
PasswordAuthentication no
"""

_CLIENT = """Host {hosts}
  HostName 127.0.0.1
  Port {port}
  IdentityFile {home}/.ssh/user
  UserKnownHostsFile {home}/.ssh/known_hosts
"""


@contextmanager
def running_sshd(folder: Path) -> Iterator[Path]:
    """The home of a user who may log in by a key, on this machine under its names; skips where there is no server."""
    program = _program()
    home, port = folder / "home", free_port()
    (home / ".ssh").mkdir(parents=True)
    for key in (folder / "host", home / ".ssh" / "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=30)
    known = f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}"
    (home / ".ssh" / "known_hosts").write_text(known)
    (home / ".ssh" / "config").write_text(_CLIENT.format(hosts=" ".join(HOSTS), port=port, home=home))
    (folder / "config").write_text(_SERVER.format(port=port, folder=folder, root=ROOT))
    with suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)
    log = folder / "log"
    command = [program, "-D", "-f", str(folder / "config"), "-E", str(log)]
    with subprocess.Popen(command) as server:
        try:
            _wait(port, server, log)
            yield home
        finally:
            server.terminate()


def _program() -> str:
    """Where the server is; Debian's package is installed if need be and may be."""
    found = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with one_installs():
            command = "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q openssh-server"
            subprocess.run(["sh", "-c", command], check=False, capture_output=True, timeout=_INSTALL_S)
        found = shutil.which("/usr/sbin/sshd")
    if found is None:
        pytest.skip("needs an SSH server (Debian's openssh-server), which is not here and cannot be installed")
    return found


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.connect(("127.0.0.1", port))
            return
        if server.poll() is not None or time.monotonic() > end:
            pytest.skip(f"the SSH server does not start: {log.read_text().strip()}")
        time.sleep(0.1)
