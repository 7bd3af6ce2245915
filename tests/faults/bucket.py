"""An object store under runs that are struck: what lies in it, and how a process dies in the middle of a request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from blockwise.files.address import Address, place_of, upload
from tests.faults.seams import in_output
from tests.faults.strike import SIGNALS, Striker, read_plan_in
from tests.support.buckets import BUCKET, Reach, environment, s3_server

ADDRESS = f"s3://{BUCKET}"
VOLUMES = ("vol.zarr", "raw.zarr")


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """The endpoint of a server with the volumes of a folder; the environment of this process leads there meanwhile."""
    with s3_server(folder / "bucket") as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(endpoint).items():
            patch.setenv(name, value)
        for name in VOLUMES:
            target = place_of(f"{ADDRESS}/{name}")
            assert isinstance(target, Address)
            if (folder / name).exists():
                upload(folder / name, target)
        yield endpoint


def striker_of_puts(plan: Path) -> Reach:
    """Kills whoever sends the planned object, from outside: no process knows where it is in a request of its own."""
    striker = Striker(plan, read_plan_in(plan))

    def reach(path: str, moment: str, port: int) -> bool:
        is_due = striker.due(f"put {in_output(Path(path))}", moment)
        if is_due:
            os.kill(sender(port), SIGNALS[striker.strike.deed])
        return is_due

    return reach


def sender(port: int) -> int:
    """The process that a connection from this port belongs to."""
    found = [one.pid for one in psutil.net_connections("tcp") if one.laddr.port == port and one.pid not in (None, 0)]
    if not found:
        raise ValueError(f"no process has port {port}")
    return int(found[0])
