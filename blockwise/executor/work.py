"""One block, processed and measured. This is all of the engine that runs on a worker."""

from __future__ import annotations

import logging
import resource
import time
import traceback
from pathlib import Path

from blockwise.executor.base import Outcome
from blockwise.process import enter
from blockwise.stage import Grid, Stage, unpack
from blockwise.store import Store

log = logging.getLogger(__name__)

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_LIMIT = 8000


def run_block(stage: Stage, grid: Grid, key: int, store: Store, *, alone: bool = True) -> Outcome:
    """Process one block; whatever it raises becomes an outcome that is not ok.

    alone: no other block runs in this process, so that the CPU time of all threads belongs to this one.
    """
    enter(stage.name)
    clock = time.process_time if alone else time.thread_time
    error = ""
    reset_peak_rss()
    wall, cpu = time.perf_counter(), clock()
    try:
        stage.process(grid.block_at(key), store)
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # user code may call sys.exit, and extensions panic
        error = describe(raised)
        log.warning("%s: block %s failed: %s", stage.name, unpack(key), last_line(error))
    return Outcome(key, not error, error, time.perf_counter() - wall, clock() - cpu, peak_rss_bytes(), stage.name)


def describe(error: BaseException) -> str:
    """The traceback without the engine's own frame; of a long one, the end."""
    after = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, after or error.__traceback__)).strip()
    return text if len(text) <= _LIMIT else "... (shortened)\n" + text[-_LIMIT:]


def last_line(text: str) -> str:
    """The last line that is not empty: of a traceback, the error itself."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def reset_peak_rss() -> None:
    """Let the peak memory of this process begin anew, where the system can."""
    try:
        _RESET.write_text("5")
    except OSError:
        return


def peak_rss_bytes() -> int:
    """The peak memory of this process since it was last reset."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
