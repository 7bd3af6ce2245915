"""What is done to a run from outside: signals, servers that are killed, full disks, locked files."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.faults.play import LeftOut, Play, Wrong, last

Act = Callable[[Play], None]
_STORE_BYTES, _OUTPUT_BYTES = 150_000, 1_200


def nothing(one: Play) -> None:
    """Only the strike."""


def signal_driver(one: Play, number: signal.Signals) -> None:
    """The driver alone gets a signal while a worker is held."""
    one.until_struck()
    assert one.process is not None
    one.process.send_signal(number)


def signal_all(one: Play, number: signal.Signals) -> None:
    """Driver and workers get a signal, as from a terminal."""
    one.until_struck()
    assert one.process is not None
    os.killpg(one.process.pid, number)


def kill_driver_and_go_on(one: Play) -> None:
    """The driver dies, another run finishes, and only then may the old worker go on (if it still lives)."""
    held = one.until_struck()
    assert one.process is not None
    first = one.process
    first.kill()
    process = one.start()
    said = one.wait(process)
    if process.returncode != 0:
        raise Wrong(f"the run after it failed: {last(said)}")
    one.go_on()
    end = time.monotonic() + 30
    while Path(f"/proc/{held}").exists():
        if time.monotonic() > end:
            raise Wrong(f"worker {held} outlives its driver")
        time.sleep(0.05)
    one.process = first


def kill_server(one: Play) -> None:
    """The MongoDB server dies and is there again only for the next run."""
    assert one.process is not None
    one.until_struck()
    assert one.server is not None
    one.server.kill()
    one.go_on()
    with suppress(subprocess.TimeoutExpired):
        one.process.wait(120)
    one.server.start()


def restart_server(one: Play) -> None:
    """The MongoDB server dies and is there again at once."""
    one.until_struck()
    assert one.server is not None
    one.server.kill()
    one.server.start()
    one.go_on()


def lock_store(one: Play, seconds: float) -> None:
    """Another process holds the SQLite file for so long."""
    one.until_struck()
    connection = sqlite3.connect(one.database, isolation_level=None, timeout=30)
    connection.execute("begin immediate")
    one.go_on()
    assert one.process is not None
    with suppress(subprocess.TimeoutExpired):
        one.process.wait(seconds)
    connection.rollback()
    connection.close()


def remove_store(one: Play) -> None:
    """The SQLite file is gone when the run is started again."""
    assert one.process is not None
    one.process.wait(120)
    for path in one.database.parent.iterdir():
        path.unlink()


def tear_log(one: Play) -> None:
    """SQLite's log lost its last part, as if the power had failed."""
    assert one.process is not None
    one.process.wait(120)
    log = one.database.with_name(one.database.name + "-wal")
    size = log.stat().st_size
    os.truncate(log, size - size // 3)


def after_a_run(one: Play) -> None:
    """There is a finished run already."""
    process = one.start()
    said = one.wait(process)
    if process.returncode != 0:
        raise Wrong(f"the first run failed: {last(said)}")


def second_driver(one: Play) -> None:
    """Another run of the same volume is refused while the first is held; then the first goes on."""
    one.until_struck()
    first = one.process
    process = one.start()
    said = one.wait(process)
    one.process = first
    one.go_on()
    if process.returncode != 2:
        raise Wrong(f"the second driver ended with {process.returncode}: {last(said)}")


def full_disk(one: Play, megabytes: float, under_store: bool) -> None:
    """Output or store lie on a file system that is too small."""
    place = one.folder / "disk"
    place.mkdir()
    mounted = mount(place, int(megabytes * 1024))
    if mounted:
        raise LeftOut(f"no small file system can be mounted ({mounted})")
    if under_store:
        (one.folder / "store").symlink_to(place)
    else:
        one.place = place


def mount(place: Path, kilobytes: int, option: str = "") -> str:
    """Mount a file system in memory; what stands in the way, if anything."""
    options = f"{option}size={kilobytes}k"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    return last(done.stderr) if done.returncode else ""


def give_room(one: Play) -> None:
    """The file system grows once the struck run has ended."""
    assert one.process is not None
    with suppress(subprocess.TimeoutExpired):
        one.process.wait(120)
    mount(one.folder / "disk", 1 << 16, "remount,")


def fill_up(one: Play) -> None:
    """The file system is filled while the run is held, and emptied when it has ended."""
    one.until_struck()
    ballast = one.folder / "disk" / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"x" * 4096)
            file.flush()
    one.go_on()
    assert one.process is not None
    with suppress(subprocess.TimeoutExpired):
        one.process.wait(120)
    ballast.unlink()


def limit_files(one: Play, size: int) -> None:
    """No file of the struck run may grow beyond this, in bytes."""
    one.prepare = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


BEFORE: dict[str, Act] = {
    "after_a_run": after_a_run,
    "full_output": partial(full_disk, megabytes=0.12, under_store=False),
    "fill_output": partial(full_disk, megabytes=4, under_store=False),
    "full_store": partial(full_disk, megabytes=0.2, under_store=True),
    "small_files": partial(limit_files, size=_STORE_BYTES),
    "tiny_files": partial(limit_files, size=_OUTPUT_BYTES),
}
"""What is done before the struck run is started."""

DURING: dict[str, Act] = {
    "interrupt_all": partial(signal_all, number=signal.SIGINT),
    "kill_all": partial(signal_all, number=signal.SIGKILL),
    "terminate_driver": partial(signal_driver, number=signal.SIGTERM),
    "hang_up_driver": partial(signal_driver, number=signal.SIGHUP),
    "kill_driver_and_go_on": kill_driver_and_go_on,
    "kill_server": kill_server,
    "restart_server": restart_server,
    "lock_store": partial(lock_store, seconds=1),
    "lock_store_for_long": partial(lock_store, seconds=60),
    "remove_store": remove_store,
    "tear_log": tear_log,
    "second_driver": second_driver,
    "full_output": give_room,
    "full_store": give_room,
    "fill_output": fill_up,
}
"""And while it runs."""
