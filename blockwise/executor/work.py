"""One block, processed and measured. This is all of the engine that runs on a worker."""

from __future__ import annotations

import logging
import os
import re
import resource
import time
import traceback
from functools import lru_cache
from pathlib import Path

from blockwise.errors import OUTCOME
from blockwise.executor.base import Outcome
from blockwise.executor.blocklog import block_log
from blockwise.executor.memory import enter
from blockwise.files.traffic import meter
from blockwise.grid import Grid, unpack
from blockwise.stage import Stage
from blockwise.store import Store

log = logging.getLogger(__name__)

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_PEAK = re.compile(rb"VmHWM:\s+(\d+) kB")
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
        with block_log().of_block(stage.name, key):
            stage.process(grid.block_at(key), store)
    except KeyboardInterrupt:
        raise
    except BaseException as raised:  # user code may call sys.exit, and extensions panic
        error = describe(raised)
        with block_log().of_block(stage.name, key):
            log.warning("%s: block %s failed: %s", stage.name, unpack(key), last_line(error), extra=OUTCOME)
    spent_s, cpu_s, traffic = time.perf_counter() - wall, clock() - cpu, meter().take()
    return Outcome(key, not error, error, spent_s, cpu_s, peak_rss_bytes(), stage.name, traffic)


def describe(error: BaseException) -> str:
    """The traceback without the engine's own frame; of a long one, the end."""
    after = error.__traceback__.tb_next if error.__traceback__ else None
    text = "".join(traceback.format_exception(type(error), error, after or error.__traceback__)).strip()
    return text if len(text) <= _LIMIT else "... (shortened)\n" + text[-_LIMIT:]


def last_line(text: str) -> str:
    """The last line that is not empty: of a traceback, the error itself."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def reset_peak_rss() -> None:
    """Let the peak memory of this process begin again, where the system can."""
    files = _memory_files(os.getpid())
    if files is not None:
        os.write(files[0], b"5")


def peak_rss_bytes() -> int:
    """The peak memory of this process since it was last reset."""
    files = _memory_files(os.getpid())
    if files is not None:
        found = _PEAK.search(os.pread(files[1], 8192, 0))
        if found is not None:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@lru_cache(maxsize=1)
def _memory_files(process: int) -> tuple[int, int] | None:  # noqa: ARG001 - they are of the process that opens them
    """Where the peak is reset, and where it is read, kept open: opening them takes longer than the shortest blocks."""
    opened: list[int] = []
    try:
        opened.append(os.open(_RESET, os.O_WRONLY | os.O_CLOEXEC))
        os.write(opened[0], b"5")
        opened.append(os.open(_STATUS, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        for file in opened:
            os.close(file)
        return None
    return opened[0], opened[1]
