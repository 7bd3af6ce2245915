"""One process at a time: a lock on a file, and what stands for it where the file system keeps no locks."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockwise.errors import BadInput

log = logging.getLogger(__name__)

_BUSY = (errno.EAGAIN, errno.EACCES)
_WRITTEN_S = 1.0
"""A file gets the name of its holder at once when it is made; one that stays empty for so long is a dead one's."""


@contextmanager
def only_one(path: Path, what: object, fault: str) -> Iterator[None]:
    """Hold the lock of the file at `path`, made if need be; BadInput `what: fault` if another process holds it.

    A killed process holds nothing, nor do its children: record locks, unlike those of `flock`, are not inherited.
    Where the file system keeps no locks, a file beside it names the process that holds it. If that process died on
    this machine the file is taken over; if on another one, nobody can tell, and it must be removed by hand.
    Raises OSError if `path` cannot be made.
    """
    with path.open("a+") as file:
        refused = try_lock(file.fileno())
        if refused is None:
            yield
        elif refused.errno in _BUSY:
            raise BadInput(what, fault, todo="wait until it is done, or stop it")
        else:
            holder = path.with_name(".holder" + path.name)
            log.warning("%s: the file system refuses locks (%s); %s stands for one", path, refused.strerror, holder)
            with _held_by_name(holder, what, fault):
                yield


def try_lock(descriptor: int) -> OSError | None:
    """Take a file's lock, or say why not: another process has it, or the file system keeps no locks.

    ENOLCK, ENOSYS and others: Lustre without the option flock, NFS without its lock service, some file systems in
    user space.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error
    return None


def keeps_locks(folder: Path) -> bool:
    """Whether files of a folder can be locked; True where none can be made to find out."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            refused = try_lock(file.fileno())
            return refused is None or refused.errno in _BUSY
    except OSError:
        return True


@contextmanager
def _held_by_name(path: Path, what: object, fault: str) -> Iterator[None]:
    """Hold a file that names this process; BadInput if there is one of a process that may live."""
    own = {"host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid())}
    while not _made(path, json.dumps(own)):
        other = _holder(path)
        if _may_live(other):
            who = f"process {other.get('pid')} on {other.get('host')}"
            raise BadInput(what, fault, got=who, todo=f"wait until it is done; if it died, remove {path}")
        _set_aside(path, other)
    try:
        yield
    finally:
        if _holder(path) == own:
            path.unlink(missing_ok=True)


def _made(path: Path, text: str) -> bool:
    """Whether the file was not there, and now is."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
    return True


def _holder(path: Path) -> dict[str, object]:
    """Who holds the file; nothing if it is gone, or stays empty."""
    end = time.monotonic() + _WRITTEN_S
    while True:
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError):
            if time.monotonic() > end:
                return {}
            time.sleep(_WRITTEN_S / 50)
        else:
            return found


def _may_live(holder: dict[str, object]) -> bool:
    """Whether the process may still run: it is on another machine, or is here and began when the file says."""
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    pid = holder.get("pid")
    return isinstance(pid, int) and _began(pid) == holder.get("began")


def _set_aside(path: Path, dead: dict[str, object]) -> None:
    """Remove the file of a dead process; one that a living process has made in its place meanwhile is put back."""
    aside = path.with_name(f".holder-{uuid.uuid4().hex}.lock")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _holder(aside) != dead:
        os.rename(aside, path)
    else:
        aside.unlink()


def _began(pid: int) -> str | None:
    """When a process of this machine began, as the system counts; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
