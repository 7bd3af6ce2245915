"""The store in an SQLite file: made by many at once, and on file systems that keep no locks."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.errors import BlockwiseError
from blockwise.grid import Grid
from blockwise.store import Record, open_store
from tests.support.lockless import without_locks
from tests.support.paths import ROOT

PROCESSES = 8
STORES = 200
APART_S = 0.001
"""Within so short a time all begin; more refusals come so than if all began at the very same moment."""
LINE = Grid("fragments", (1, 1, 1000), (1, 1, 1))


def claim_all(place: int, folder: str, barrier: Barrier, faults: Any) -> None:
    """One of the processes: make each store together with the others."""
    chance = random.Random(place)
    found = []
    for number in range(STORES):
        barrier.wait()
        time.sleep(chance.uniform(0, APART_S))
        store = open_store(f"sqlite:///{folder}/{number}.db")
        try:
            store.claim("one")
        except BlockwiseError as error:
            found.append(str(error))
        store.close()
    faults.put(found)


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder that needs no disk, where there is one: syncing to a disk would take most of the time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def test_many_processes_make_a_store_at_the_same_time(in_memory):
    """Eight processes make two hundred stores in turn, and none of them is ever refused.

    SQLite lets only one process change a file to a write-ahead log, and refuses others at once instead of waiting.
    """
    spawn = multiprocessing.get_context("spawn")
    barrier, faults = spawn.Barrier(PROCESSES), spawn.Queue()
    processes = [
        spawn.Process(target=claim_all, args=(place, str(in_memory), barrier, faults), daemon=True)
        for place in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    assert [faults.get(timeout=240) for _ in processes] == [[]] * PROCESSES
    for process in processes:
        process.join()
    assert len(list(in_memory.glob("*.db"))) == STORES


MARK = """
import sys
from blockwise.store import Record, open_store
store = open_store(sys.argv[1])
for key in range(int(sys.argv[2]), int(sys.argv[3])):
    store.mark("fragments", [Record(key, "f", 1)])
    print(key, flush=True)
"""


def marking(path: Path, first: int, end: int, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A process that marks blocks one by one, and tells of each."""
    command = [sys.executable, "-c", MARK, f"sqlite:///{path}", str(first), str(end)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS], ids=errno.errorcode.get)
def test_a_store_works_where_files_cannot_be_locked(number, tmp_path):
    """Several processes write at once and lose nothing, and each says why it is slower."""
    path = tmp_path / "vol.db"
    processes = [marking(path, 10 * place, 10 * place + 10, without_locks(tmp_path, number)) for place in range(3)]
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, told
    assert all("refuses locks" in one for one in told)
    store = open_store(f"sqlite:///{path}")
    assert np.flatnonzero(store.done_mask("fragments", LINE)).tolist() == list(range(30))
    store.close()


def test_a_store_moves_to_a_file_system_without_locks_and_back(tmp_path):
    """Its write-ahead log is given up there, and begun again here."""
    store = open_store(f"sqlite:///{tmp_path}/vol.db")
    store.mark("fragments", [Record(0, "f", 1)])
    store.close()
    process = marking(tmp_path / "vol.db", 1, 3, without_locks(tmp_path, errno.ENOLCK))
    assert process.communicate(timeout=120)[0].split() == ["1", "2"]
    store = open_store(f"sqlite:///{tmp_path}/vol.db")
    store.mark("fragments", [Record(3, "f", 1)])
    assert store.totals("fragments").done == 4
    store.close()


def test_a_lock_of_a_dead_process_is_removed(tmp_path):
    """Without locks a folder stands for one; what a killed process left there stops nobody for ever."""
    path = tmp_path / "vol.db"
    environment = without_locks(tmp_path, errno.ENOLCK)
    process = marking(path, 0, 1000, environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lock = tmp_path / "vol.db.lock"
    lock.mkdir(exist_ok=True)
    os.utime(lock, (1, 1))
    again = marking(path, 0, 2, environment)
    assert again.communicate(timeout=30)[0].split() == ["0", "1"]
    assert not lock.exists()


def test_a_connection_waits_for_one_that_writes(tmp_path):
    """As long as another process holds the new file, nobody is refused."""
    path = tmp_path / "vol.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    process = marking(path, 0, 1, dict(os.environ))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    other.execute("rollback")
    other.close()
    assert process.communicate(timeout=60)[0].split() == ["0"]


def test_a_transaction_that_an_interrupt_left_open_is_taken_back(tmp_path):
    """What was written in it is gone, and the store goes on, also when it is cleared away in the next one."""
    store = open_store(f"sqlite:///{tmp_path}/vol.db")
    store.claim("one")
    left = store._writing()  # an interrupt between two instructions may leave it so
    left.__enter__().execute("update meta set value = 'another'")
    store.mark("fragments", [Record(1, "f", 1)])
    assert store.owner() == "one"
    with store._writing() as connection:
        connection.execute("update meta set value = 'two'")
        del left
    store.close()
    assert open_store(f"sqlite:///{tmp_path}/vol.db").owner() == "two"
    assert store.totals("fragments").done == 1


READ = """
import os, sys
import blockwise.store.sqlite
from blockwise.errors import BlockwiseError
from blockwise.store import open_store
if not os.getuid():
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)
store = open_store(sys.argv[1])
print(store.totals("fragments").done, store.owner())
for write in (store.check_writable, lambda: store.forgive("fragments", [1])):
    try:
        write()
        print("written")
    except BlockwiseError as error:
        print(error)
"""


@pytest.mark.parametrize("is_written", [True, False], ids=["while it is written", "afterwards"])
def test_a_store_in_a_folder_that_cannot_be_written_can_be_read(is_written, in_memory):
    """The run of somebody else, or an archive: its state is shown, and a write is refused."""
    in_memory.chmod(0o755)
    path = in_memory / "vol.db"
    store = open_store(f"sqlite:///{path}")
    store.claim("one")
    store.mark("fragments", [Record(key, "f", 1) for key in range(7)])
    if not is_written:
        store.close()
    in_memory.chmod(0o555)
    try:
        command = [sys.executable, "-c", READ, f"sqlite:///{path}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    finally:
        in_memory.chmod(0o755)
        store.close()
    said = done.stdout.splitlines()
    assert said[0] == "7 one", done.stderr
    assert "the store lies in a folder that cannot be written" in said[1]
    assert "the store cannot be used (attempt to write a readonly database)" in said[2]
