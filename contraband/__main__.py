"""`python -m contraband` and `contraband` are the same command."""

import atexit
import gc
import os
import sys
import threading

gc.set_threshold(50_000)  # imports and settings make many objects and no garbage: a tenth of the start-up time


def command() -> None:
    """Run the command line, and end this process with its exit code."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # none is used, and looking for them takes time
    from contraband.cli import main

    try:
        main()
    except SystemExit as end:
        leave(end.code)


def leave(code: str | int | None) -> None:
    """End when threads have ended and all is closed and flushed, without taking memory apart object by object."""
    if not isinstance(code, int):  # a text to be shown, or none: rare enough to be left to Python
        sys.exit(code)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads any more
        code = code or 1
    os._exit(code)


if __name__ == "__main__":  # not in workers, which import this module too
    command()
