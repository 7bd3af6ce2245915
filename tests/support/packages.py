"""Debian's packages, which two tests may want at the same time."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_installs() -> Iterator[None]:
    """Wait until no other process of tests installs packages, as apt-get fails where another one runs."""
    with (Path(tempfile.gettempdir()) / "contraband-tests-install.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
