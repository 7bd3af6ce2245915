"""Whose fault it is that there is no batch: that of a process that ended, or of what is read."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from contraband.training import loading
from contraband.training.loading import LoaderWatchdog


def fails():
    """What is read from a connection whose other end is gone."""
    raise ConnectionResetError("reset by peer")
    yield


@pytest.fixture
def process():
    """One that works on."""
    one = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    one.start()
    yield one
    one.kill()
    one.join()


def test_a_process_that_is_killed_may_close_its_connections_before_it_ends(process):
    """It is its death all the same, and not an error of a socket."""
    threading.Timer(0.2, os.kill, (process.pid, signal.SIGKILL)).start()
    with LoaderWatchdog({process}, 60) as watchdog, pytest.raises(RuntimeError, match="DataLoader process ended"):
        watchdog.next_of(fails())


def test_an_error_beside_processes_that_live_is_itself(process, monkeypatch):
    """Also without any process."""
    monkeypatch.setattr(loading, "ENDS_WITHIN_S", 0.1)
    for processes in ({process}, set()):
        with LoaderWatchdog(processes, 60) as watchdog, pytest.raises(ConnectionResetError):
            watchdog.next_of(fails())
