"""Ctrl-C that falls where Python only prints exceptions: the work is interrupted all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from blockwise.cluster.interrupts import heard
from contraband.progress import shown
from tests.support.paths import ROOT


class Gone:
    """Ctrl-C comes while it goes."""

    def __del__(self) -> None:
        raise KeyboardInterrupt


def loses_an_interrupt() -> None:
    """Work that would go on for long."""
    Gone()
    time.sleep(20)


BY_EACH = {
    "the command": """
import contraband.cli
contraband.cli._all_commands = lambda: lambda **_: work()
contraband.cli.main(["run"])
""",
    "the Python interface": """
from contraband.progress import shown
try:
    with shown(False, "blocks"):
        work()
except KeyboardInterrupt:
    sys.exit("contraband: interrupted")
""",
    "the engine": """
from blockwise.engine import run
run.examine = lambda *_: work()
try:
    run.run_stages([], None, None)
except KeyboardInterrupt:
    sys.exit("contraband: interrupted")
""",
}
WORK = """
import sys
from tests.blockwise.cluster.test_interrupts import loses_an_interrupt
def work():
    loses_an_interrupt()
    print("went on")
"""


@pytest.mark.parametrize("who", BY_EACH)
def test_an_interrupt_that_python_swallows_comes_again(who):
    """At once, and without a traceback."""
    command = [sys.executable, "-c", WORK + BY_EACH[who]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("contraband: interrupted")
    assert len(done.stderr.splitlines()) == 1


def test_what_is_lost_at_the_very_end_is_raised_there():
    """Not later, in what the caller does next."""
    with pytest.raises(KeyboardInterrupt), heard():
        Gone()
    time.sleep(0.2)


def test_the_alarm_of_who_calls_is_kept():
    """It comes after the work, and not instead of the interrupt."""
    came = []
    before = signal.signal(signal.SIGALRM, lambda *_: came.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt), heard():
            loses_an_interrupt()
        assert not came
        time.sleep(0.5)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(came) == 1


def test_other_errors_that_python_swallows_are_printed_as_before(monkeypatch):
    """Whoever looks at them goes on to do so."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", found.append)

    class Fails:
        def __del__(self) -> None:
            raise ValueError("of an object")

    with heard():
        Fails()
    assert [one.exc_type for one in found] == [ValueError]
    assert sys.unraisablehook == found.append


def test_in_another_thread_nothing_changes():
    """No interrupt comes there."""
    before = sys.unraisablehook
    seen = []

    def work() -> None:
        with heard(), shown(False, "blocks"):
            seen.append(sys.unraisablehook)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
