"""Who may write: one process at a time, also where the file system keeps no locks."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blockwise.errors import BadInput
from blockwise.files.locks import keeps_locks, only_one
from tests.support.lockless import without_locks
from tests.support.paths import ROOT

REFUSALS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL]
HOLD = """
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from blockwise.errors import BadInput
from blockwise.files.locks import only_one
try:
    with only_one(Path(sys.argv[1]), "out", "is taken"):
        print("held", flush=True)
        sys.stdin.readline()
except BadInput as error:
    print(error, flush=True)
"""


class Holder:
    """A process that holds a lock until it is told to let go."""

    def __init__(self, path: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    def end(self) -> str:
        """Let go; what it wrote to stderr."""
        told = self.process.communicate("\n", timeout=30)[1]
        assert self.process.returncode == 0
        return told


@pytest.fixture
def hold(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], Holder]]:
    """Starts processes that hold the same lock, or try to; those still there at the end are ended."""
    started: list[Holder] = []

    def start() -> Holder:
        started.append(Holder(tmp_path / ".lock", environment))
        return started[-1]

    yield start
    for holder in started:
        holder.process.kill()
        holder.process.communicate()


@pytest.fixture(params=[0, *REFUSALS], ids=lambda number: errno.errorcode.get(number, "locks"))
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Of processes whose file system keeps locks, or refuses them in one of several ways."""
    return without_locks(tmp_path, request.param) if request.param else dict(os.environ)


def test_one_process_holds_a_lock_until_it_ends(hold, environment, tmp_path):
    """The second is refused in one line as long as the first holds it, and only then."""
    first = hold()
    second = hold()
    assert (first.said, second.said.split(";")[0]) == ("held", "out: is taken")
    told = first.end()
    assert ("refuses locks" in told) is ("REFUSED_WITH" in environment)
    assert hold().said == "held"
    assert {name.name for name in tmp_path.glob(".*")} <= {".lock", ".holder.lock"}


def test_a_killed_process_holds_nothing(hold):
    """Whoever comes next takes over at once."""
    first = hold()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert hold().said == "held"
    assert hold().said.startswith("out: is taken")


def test_a_process_of_another_machine_may_live(tmp_path, monkeypatch):
    """Nobody can tell, so the line names it, and the file to remove."""
    holder = tmp_path / ".holder.lock"
    holder.write_text(json.dumps({"host": "elsewhere", "pid": 7, "began": "1"}), encoding="utf-8")
    monkeypatch.setattr("fcntl.lockf", refuse)
    with (
        pytest.raises(BadInput, match=r"process 7 on elsewhere.*remove .*\.holder\.lock"),
        only_one(tmp_path / ".lock", "out", "is taken"),
    ):
        pass
    assert holder.exists()


@pytest.mark.parametrize("content", ["", "nonsense", '{"host": "HOST", "pid": 1, "began": "another boot"}'])
def test_what_a_dead_process_left_is_taken_over(content, tmp_path, monkeypatch):
    """Also a file that was never written, or names a process whose number another one has now; nothing is left."""
    (tmp_path / ".holder.lock").write_text(content.replace("HOST", socket.gethostname()), encoding="utf-8")
    monkeypatch.setattr("fcntl.lockf", refuse)
    with only_one(tmp_path / ".lock", "out", "is taken"):
        assert json.loads((tmp_path / ".holder.lock").read_text())["pid"] == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_folder_tells_whether_it_keeps_locks(tmp_path, monkeypatch):
    """One that cannot be written to is not blamed."""
    assert keeps_locks(tmp_path)
    assert keeps_locks(tmp_path / "nosuch")
    monkeypatch.setattr("fcntl.lockf", refuse)
    assert not keeps_locks(tmp_path)


def refuse(*_: object) -> None:
    """What `fcntl.lockf` does where the file system keeps no locks."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
