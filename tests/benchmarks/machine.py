"""What the machine itself can do, to hold the figures against."""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from pathlib import Path

import numpy as np
import psutil


@cache
def copy_bytes_a_second(megabytes: int = 256) -> float:
    """Bytes a second that one core copies from memory to memory (a byte read and written counts once)."""
    source = np.ones(megabytes << 20, np.uint8)
    target = np.empty_like(source)
    best = min(_copy_seconds(source, target) for _ in range(5))
    return source.nbytes / best


def _copy_seconds(source: np.ndarray, target: np.ndarray) -> float:
    begin = time.perf_counter()
    np.copyto(target, source)
    return time.perf_counter() - begin


def describe() -> str:
    """Processor, cores, memory, bandwidth and Python in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    copies = copy_bytes_a_second() / 1e9
    return (
        f"{processor()}, {cores} cores, {memory:.0f} GiB, one core copies {copies:.0f} GB/s, "
        f"Python {platform.python_version()}"
    )


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
