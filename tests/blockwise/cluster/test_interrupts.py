"""Ctrl-C that falls where Python only prints exceptions: the work is interrupted all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress

import pytest

from blockwise.cluster import interrupts
from blockwise.cluster.interrupts import heard, interruption_point
from blockwise.engine.run import run_stages
from blockwise.executor import InProcess
from blockwise.store import open_store
from contraband.progress import shown
from tests.support.paths import ROOT
from tests.support.toys import Idle


class Gone:
    """Ctrl-C comes while it goes."""

    def __del__(self) -> None:
        raise KeyboardInterrupt


def loses_an_interrupt() -> None:
    """Work that would go on for long."""
    Gone()
    time.sleep(20)


def comes() -> None:
    """Ctrl-C, at the latest when it has waited for so long."""
    signal.raise_signal(signal.SIGINT)
    time.sleep(5)


def is_replaced() -> None:
    """Ctrl-C comes in a handler's call from compiled code, which knows errors of its own only."""
    try:
        comes()
    except KeyboardInterrupt:
        raise TypeError("of arrays that cannot be compared") from None


def is_lost() -> None:
    """Ctrl-C comes where nobody passes it on."""
    with suppress(KeyboardInterrupt):
        comes()


class Undone:
    """Fails as it goes, as it was left in the middle of something."""

    def __del__(self) -> None:
        raise AssertionError("left in the middle")


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


@pytest.mark.parametrize("who", BY_EACH)
def test_an_interrupt_that_a_library_makes_an_error_of_stays_one(who):
    """It is no failure of the work, and what the library prints afterwards is not shown."""
    work = """
import sys
from tests.blockwise.cluster.test_interrupts import Undone, is_replaced
def work():
    undone = Undone()
    try:
        is_replaced()
    finally:
        del undone
"""
    command = [sys.executable, "-c", work + BY_EACH[who]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("contraband: interrupted")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("falls", [is_replaced, is_lost])
@pytest.mark.parametrize("where", ["process", "prepare", "finish"])
def test_a_run_is_interrupted_wherever_that_falls(where, falls, tmp_path, monkeypatch):
    """No block has failed by it, the run does not go on, and started again it does what is left."""
    monkeypatch.setattr(interrupts, "PATIENCE_S", 0.05)
    stage = Idle(blocks=3)
    wished = getattr(Idle, where)

    def once(*arguments):
        monkeypatch.setattr(Idle, where, wished)
        falls()
        return wished(*arguments)

    monkeypatch.setattr(Idle, where, once)
    store = open_store(f"sqlite:///{tmp_path}/run.db")
    with closing(store), InProcess(store) as executor:
        with pytest.raises(KeyboardInterrupt):
            run_stages([stage], store, executor)
        assert not store.failures(stage.name)
        (result,) = run_stages([stage], store, executor)
    assert result.blocks_done + result.blocks_skipped == stage.grid().count


@pytest.mark.parametrize(("signals", "patience_s", "done"), [(1, 60, 1), (2, 60, 0), (1, 0.1, 0)])
def test_an_interrupt_waits_for_the_block(signals, patience_s, done, tmp_path, monkeypatch):
    """But not for long, and a second one does not."""

    def process(*_):
        for _ in range(signals):
            signal.raise_signal(signal.SIGINT)
        time.sleep(0.5)

    monkeypatch.setattr(interrupts, "PATIENCE_S", patience_s)
    monkeypatch.setattr(Idle, "process", process)
    store = open_store(f"sqlite:///{tmp_path}/run.db")
    with closing(store), InProcess(store) as executor:
        with pytest.raises(KeyboardInterrupt):
            run_stages([Idle(blocks=3)], store, executor)
        assert store.totals("idle").done == done
        assert not store.failures("idle")
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_a_signal_that_interrupts_nothing_is_none():
    """A handler of the caller's that returns leaves the work alone, and an error is an error."""
    came = []

    def work():
        signal.raise_signal(signal.SIGUSR1)
        interruption_point()
        raise ValueError("of the work")

    before = signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
    try:
        with pytest.raises(ValueError, match="of the work"), heard():
            work()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came


def test_nothing_is_remembered_of_an_interrupt_that_was_seen():
    """What runs afterwards is not interrupted by it, and handlers are as before."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), heard():
        signal.raise_signal(signal.SIGINT)
    with heard():
        interruption_point()
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_lost_at_the_very_end_is_raised_there():
    """Not later, in what the caller does next."""
    with pytest.raises(KeyboardInterrupt), heard():
        Gone()
    time.sleep(0.2)


def test_the_alarm_of_who_calls_is_kept():
    """It comes after the work, and not instead of the interrupt."""
    came = []

    def alarm(*_):
        came.append(1)

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        with pytest.raises(KeyboardInterrupt), heard():
            loses_an_interrupt()
        assert not came
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
        assert signal.getsignal(signal.SIGALRM) is alarm
        signal.setitimer(signal.ITIMER_REAL, 0.05)
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
