"""The longest time of a job, and how much of it is left, as the job itself knows it."""

from __future__ import annotations

import os
import re
import time

BEGAN = "BLOCKWISE_JOB_BEGAN"
"""Variable of a job: when it began, in seconds since 1970."""
ALLOWED = "BLOCKWISE_JOB_S"
"""Variable of a job: how many seconds it may take."""
_ENDS = ("SLURM_JOB_END_TIME",)
"""Variables in which batch systems say when a job ends, whatever was asked for."""
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def seconds_of(walltime: str | None, kind: str) -> float | None:
    """Seconds in a longest time as batch systems write it, D-HH:MM:SS; None if it is none, or not understood.

    Of two numbers LSF takes the first for hours, SLURM for minutes.
    """
    found = _TIME.fullmatch((walltime or "").strip())
    if found is None:
        return None
    days, *numbers = found.groups()
    first, second, third = (None if number is None else int(number) for number in numbers)
    assert first is not None
    if days is not None or third is not None:  # hours and what is below
        seconds = first * 3600 + (second or 0) * 60 + (third or 0)
    elif second is not None:
        seconds = first * 3600 + second * 60 if kind == "lsf" else first * 60 + second
    else:  # one number alone
        seconds = first if kind in ("pbs", "sge") else first * 60
    return float(seconds + int(days or 0) * 86400) or None


def left_s() -> float | None:
    """Seconds until the job of this worker is ended; None if no run has submitted it, or it has no limit."""
    if not _is_number(os.environ.get(BEGAN, "")):
        return None  # a worker on this machine may run in a job of the user's
    ends = [float(os.environ[name]) for name in _ENDS if _is_number(os.environ.get(name, ""))]
    if _is_number(allowed := os.environ.get(ALLOWED, "")):
        ends.append(float(os.environ[BEGAN]) + float(allowed))
    return min(ends) - time.time() if ends else None


def _is_number(text: str) -> bool:
    return text.isdigit() and int(text) > 0
