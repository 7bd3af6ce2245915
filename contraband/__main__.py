"""`python -m contraband` and `contraband` are the same command."""

import atexit
import gc
import os
import signal
import sys
import threading

gc.set_threshold(50_000)  # imports and settings make many objects and no garbage


def command() -> None:
    """Run the command line, and end this process with its exit code."""
    open_closed_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as after nohup
        signal.signal(signal.SIGINT, end_at_once)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # none is used, and looking for them takes time
    from blockwise.files.home import ensure_home
    from contraband.cli import main

    ensure_home()
    try:
        main()
    except SystemExit as end:
        leave(end.code)


def open_closed_streams() -> None:
    """Where a service has closed stdin, stdout or stderr, what is said goes nowhere.

    Else the first files that are opened would get their numbers, and what is said would be written into these.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            os.set_inheritable(opened, True)  # for workers
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def end_at_once(number: int, frame: object) -> None:  # noqa: ARG001 - what handlers are given
    """While modules are loaded nothing has begun that would have to be ended, and they may swallow an exception."""
    os.write(2, b"contraband: interrupted, nothing had begun\n")
    os._exit(1)


def leave(code: str | int | None) -> None:
    """End when threads have ended and all is closed and flushed, without taking memory apart object by object.

    That is a quarter of the time that `contraband --help` takes. A Python that lacks the two hooks ends as it does.
    """
    join_threads = getattr(threading, "_shutdown", None)
    run_exit_functions = getattr(atexit, "_run_exitfuncs", None)
    # A text to be shown, or none, is rare enough to be left to Python.
    if not isinstance(code, int) or join_threads is None or run_exit_functions is None:
        sys.exit(code)
    try:
        join_threads()
        run_exit_functions()
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more
        code = code or 1
    os._exit(code)


if __name__ == "__main__":  # not in workers, which import this module too
    command()
