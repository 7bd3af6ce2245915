"""A real Grid Engine of one node on this machine, for tests; a fixture says why where there is none."""

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
from tests.support.servers import free_port

PACKAGES = ("gridengine-master", "gridengine-exec", "gridengine-client")
_DEBIAN = Path("/var/lib/gridengine")
_INSTALL_S = 200
_START_S = 30

_BOOTSTRAP = """admin_user root
default_domain none
ignore_fqdn false
spooling_method berkeleydb
spooling_lib libspoolb
spooling_params {folder}/spool/db
binary_path /usr/sbin
qmaster_spool_dir {folder}/spool/qmaster
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
"""

_HOST = """hostname localhost
load_scaling NONE
complex_values NONE
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
"""


class GridEngine:
    """The commands of a Grid Engine that runs, as an administrator may use them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = {
            "SGE_ROOT": str(folder),
            "SGE_CELL": "cell",
            "SGE_QMASTER_PORT": str(free_port()),
            "SGE_EXECD_PORT": str(free_port()),
        }
        """What its commands find it by, to be in the environment."""

    def command(self, *words: str) -> str:
        """What a command says."""
        given = {**os.environ, **self.names}
        done = subprocess.run(words, env=given, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done.stdout.strip()

    def jobs(self) -> list[str]:
        """Numbers of the jobs that have not ended."""
        rows = [line.split() for line in self.command("qstat").splitlines()]
        return [row[0] for row in rows if row and row[0].isdigit()]

    def delete(self, *jobs: str) -> None:
        """As their owner would."""
        for job in jobs:
            with suppress(AssertionError):  # it may just have ended
                self.command("qdel", job)

    def wait_until_empty(self, seconds: float) -> None:
        """Return once no job is left; fails after so many seconds."""
        end = time.monotonic() + seconds
        while left := self.jobs():
            assert time.monotonic() < end, f"jobs {left} are left"
            time.sleep(0.5)

    def start(self) -> None:
        """A cell of its own, with a queue of eight slots, in which root may have jobs."""
        common = self.folder / "cell" / "common"
        for place in (common, *(self.folder / "spool" / name for name in ("qmaster/job_scripts", "execd", "db"))):
            place.mkdir(parents=True)
        for name in ("bin", "lib", "util", "utilbin"):
            (self.folder / name).symlink_to(_DEBIAN / name)
        (common / "bootstrap").write_text(_BOOTSTRAP.format(folder=self.folder))
        (common / "host_aliases").write_text(f"localhost {socket.gethostname()}\n")
        (common / "act_qmaster").write_text("localhost\n")
        spool = str(self.folder / "spool" / "db")
        self.command("/usr/share/gridengine/scripts/init_cluster", str(self.folder), "cell", spool, "root")
        self.command("sge_qmaster")
        self._wait_for_master()
        self._change(
            "-sconf", "-Mconf", "global", min_uid=0, min_gid=0, execd_spool_dir=self.folder / "spool" / "execd"
        )
        (self.folder / "host").write_text(_HOST)
        self.command("qconf", "-Ae", str(self.folder / "host"))
        self.command("qconf", "-as", "localhost")
        queue = {"qname": "main", "hostlist": "localhost", "slots": 8, "pe_list": "NONE", "load_thresholds": "NONE"}
        self._change("-sq", "-Aq", "queue", **queue, shell="/bin/bash")
        soon = {"schedule_interval": "0:0:1", "flush_submit_sec": 1, "flush_finish_sec": 1}
        self._change("-ssconf", "-Msconf", "scheduler", **soon)
        self.command("sge_execd")

    def stop(self) -> None:
        """End it, with all its jobs."""
        for words in (("qdel", "-f", "-u", "*"), ("qconf", "-ke", "all"), ("qconf", "-km")):
            with suppress(AssertionError, subprocess.TimeoutExpired):
                self.command(*words)

    def _change(self, show: str, change: str, name: str, **keys: object) -> None:
        """Give what `qconf SHOW` tells back to `qconf CHANGE`, with other values."""
        lines = [line.split(None, 1) for line in self.command("qconf", show).splitlines()]
        known = {line[0]: line[1] if len(line) == 2 else "" for line in lines if line and not line[0].startswith("#")}
        path = self.folder / name
        path.write_text("".join(f"{key} {value}\n" for key, value in {**known, **keys}.items()))
        self.command("qconf", change, str(path))

    def _wait_for_master(self) -> None:
        end = time.monotonic() + _START_S
        while True:
            try:
                self.command("qconf", "-sconf")
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)
            else:
                return


@contextmanager
def running_gridengine(folder: Path) -> Iterator[GridEngine]:
    """A Grid Engine that ends with the context; skips the test, with the reason, where none can be had."""
    if os.geteuid() != 0:
        pytest.skip("needs a Grid Engine, which only root can start")
    with one_installs():
        if shutil.which("sge_qmaster") is None:
            _install()
    found = GridEngine(folder)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def _install() -> None:
    """Debian's packages, without the cell that they would make."""
    if shutil.which("apt-get") is None:
        pytest.skip("needs a Grid Engine: neither sge_qmaster nor apt-get is here")
    answers = "".join(f"{package} shared/gridengineconfig boolean false\n" for package in PACKAGES)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(["debconf-set-selections"], input=answers, text=True, check=True, capture_output=True)
        for words in (
            ["update", "-q"],
            ["install", "-o", "DPkg::Lock::Timeout=120", "-y", "-q", "--no-install-recommends", *PACKAGES],
        ):
            subprocess.run(["apt-get", *words], env=environment, check=True, capture_output=True, timeout=_INSTALL_S)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"needs a Grid Engine, and Debian's packages were not installed: {error}")
