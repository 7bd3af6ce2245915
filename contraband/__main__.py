"""`python -m contraband` and `contraband` are the same command."""

import atexit
import gc
import os
import sys
import threading

gc.set_threshold(50_000)  # imports and settings make many objects and no garbage


def command() -> None:
    """Run the command line, and end this process with its exit code."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # none is used, and looking for them takes time
    from contraband.cli import main

    try:
        main()
    except SystemExit as end:
        leave(end.code)


def leave(code: str | int | None) -> None:
    """End when threads have ended and all is closed and flushed, without taking memory apart object by object.

    That is a quarter of the time that `contraband --help` takes. A Python that lacks the two hooks ends as it does.
    """
    join_threads = getattr(threading, "_shutdown", None)
    run_exit_functions = getattr(atexit, "_run_exitfuncs", None)
    # A text to be shown, or none, is rare enough to be left to Python.
    if not isinstance(code, int) or join_threads is None or run_exit_functions is None:
        sys.exit(code)
    join_threads()
    run_exit_functions()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more
        code = code or 1
    os._exit(code)


if __name__ == "__main__":  # not in workers, which import this module too
    command()
