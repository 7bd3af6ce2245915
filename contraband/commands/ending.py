"""How a command ends: its line and exit code, what the system has to do with an error, what interrupts do."""

from __future__ import annotations

import errno
import os
import re
import resource
from dataclasses import dataclass

import typer

from blockwise.errors import one_line
from blockwise.settings import shortened


@dataclass(frozen=True)
class Ending:
    """How a command ended."""

    line: str
    """For stderr; empty if nothing is to be said."""
    code: int

    def say(self) -> None:
        """Say why, where there is something to say."""
        if self.line:
            typer.echo(f"contraband: {self.line}", err=True)


INTERRUPTED = Ending("interrupted; what is finished is kept, and the same command goes on from there", 1)


def explained_by_system(error: Exception) -> Ending | None:
    """What is wrong with the system rather than with the program, and the exit code; None if that is not known."""
    if explained := explained_by_limit(error):
        return explained
    if isinstance(error, MemoryError):
        return Ending(
            "the memory does not suffice; what is finished is kept; take smaller blocks, or a larger machine", 1
        )
    if isinstance(error, UnicodeEncodeError):
        name = error.object[error.start : error.end].encode("unicode_escape").decode()
        return Ending(
            f"the locale ({error.encoding}) has no {name}, which a name here has; set PYTHONUTF8=1 or LC_ALL=C.UTF-8",
            2,
        )
    if str(error).startswith("A config file at "):  # so zarr's configuration fails, as zarr is imported
        return Ending(f"zarr's configuration: {one_line(str(error))[2:250]}; mend or remove it", 2)
    return _explained_by_files(error) if isinstance(error, OSError) else None


def explained_by_limit(error: Exception) -> Ending | None:
    """The limit of the shell for the memory of a process, if there is one and the error is one that it makes.

    Libraries that cannot be loaded and threads that cannot be started are blamed on whatever was read meanwhile.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    causes: list[BaseException] = [error]
    while cause := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(cause)
    is_of_memory = any(isinstance(one, MemoryError) or _OF_MEMORY(str(one)) for one in causes)
    if limit == resource.RLIM_INFINITY or not is_of_memory:
        return None
    size = f"{limit / 1e6:.0f} MB (ulimit -v {limit // 1024})"
    return Ending(f"a process may have only {size} here, which does not suffice; what is finished is kept; raise it", 1)


_OF_MEMORY = re.compile(
    "shared object|failed to map segment|cannot allocate|start new thread|thread pool|out of memory", re.IGNORECASE
).search
"""What the loading of libraries and the start of threads say where memory lacks."""


def _explained_by_files(error: OSError) -> Ending | None:
    place = shortened(str(error.filename or "the target"))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Ending(f"{place}: no space is left on its disk; free some, then the same command goes on", 1)
    if error.errno == errno.EFBIG:
        return Ending(f"{place}: would be larger than a file may be here (ulimit -f); what is finished is kept", 1)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        line = f"too many files are open at once (ulimit -n {most}); what is finished is kept; raise it with ulimit -n"
        return Ending(line, 2)
    if error.errno == errno.ENAMETOOLONG:
        return Ending(f"{place}: is too long a name for the file system; shorten it", 2)
    if error.errno in _REFUSED and error.filename:
        return Ending(f"{place}: {error.strerror}; what is finished is kept", 2)
    return None


_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
"""What a file system says of its own state, and of paths that are of another kind than they are taken for."""


class Interrupts:
    """Ctrl-C, a batch system whose time is over, a terminal that is gone: what happens then.

    The first ends the command in order: what is being written is finished or given up, workers are ended. The second
    changes nothing, as that takes some seconds at most. The third ends this process at once, and workers notice. A
    command that has ended has one line and one exit code, whatever comes while threads are waited for.
    """

    def __init__(self) -> None:
        self._count = 0
        self._ended: Ending | None = None
        self._is_saying = False

    def __call__(self, number: int, frame: object) -> None:
        self._count += 1
        if self._is_saying:
            return
        if self._count == 1 and self._ended is None:
            raise KeyboardInterrupt
        if self._count > 2:
            if self._ended is None:
                os.write(2, b"contraband: ended at once\n")
            os._exit(self.code)

    @property
    def code(self) -> int:
        """With which the process is to end."""
        return 1 if self._ended is None else self._ended.code

    def end(self, ended: Ending) -> None:
        """The command has ended, unless the first interrupt comes now, which is raised here: say so."""
        self._is_saying, self._ended = True, ended
        ended.say()
        self._is_saying = False
