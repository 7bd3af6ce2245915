"""How the process of a command ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

LEAVE = """
import atexit, threading, time
from types import SimpleNamespace
import contraband.__main__ as main

{gone}
atexit.register(print, "left")
threading.Thread(target=lambda: (time.sleep(0.2), print("waited", flush=True))).start()
main.leave(3)
"""


@pytest.mark.parametrize("gone", ["", "main.threading = SimpleNamespace()", "main.atexit = SimpleNamespace()"])
def test_a_command_ends_with_or_without_what_python_keeps_to_itself(gone):
    """Threads have ended, what was left for the end is done, and the exit code is that of the command."""
    done = subprocess.run([sys.executable, "-c", LEAVE.format(gone=gone)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (3, ["waited", "left"]), done.stderr
