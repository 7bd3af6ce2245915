"""Faults that strike as planned: this block raises twice, that worker dies after writing and before it is marked.

A plan is a folder with a file a block, so that every process sees it and attempts are counted over all of them.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

RAISE = "raise"
DIE_BEFORE_WRITE = "die before write"
DIE_AFTER_WRITE = "die after write"
INTERRUPT = "interrupt"
EXIT = "exit"
HANG = "hang"
STOP = "stop"
HOLD_GIL = "hold the interpreter"
ALWAYS = 99


class PlannedError(Exception):
    """Raised on purpose."""


def plan(folder: Path, faults: Mapping[int, Sequence[str]]) -> Path:
    """Write a plan: for each block, what goes wrong at its first, second, ... attempt; then all is well."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, kinds in faults.items():
        (folder / f"{key}.plan").write_text(json.dumps(list(kinds)))
    return folder


def strike(folder: Path, key: int, moment: str) -> None:
    """Let the fault planned for this attempt happen, if this is its moment: "before write" or "after write"."""
    if moment == "before write":
        with (folder / f"{key}.count").open("ab") as file:
            file.write(b"x")
    planned = folder / f"{key}.plan"
    kinds = json.loads(planned.read_text()) if planned.exists() else []
    attempt = attempts(folder).get(key, 0)
    kind = kinds[attempt - 1] if attempt <= len(kinds) else ""
    if kind == f"die {moment}":
        os.kill(os.getpid(), signal.SIGKILL)
    if moment == "before write" and kind == RAISE:
        raise PlannedError(f"planned for block {key}, attempt {attempt}")
    if moment == "before write" and kind == INTERRUPT:
        raise KeyboardInterrupt
    if moment == "before write" and kind == EXIT:
        raise SystemExit(3)
    if moment == "before write" and kind == HANG:
        time.sleep(600)
    if moment == "before write" and kind == STOP:
        os.kill(os.getpid(), signal.SIGSTOP)
    if moment == "before write" and kind == HOLD_GIL:
        hold_interpreter(6)


def hold_interpreter(seconds: float) -> int:
    """Multiply long numbers in one call that takes about so long: no other thread of this process runs meanwhile."""
    bits = 400_000
    begin = time.monotonic()
    product = ((1 << bits) - 1) ** 2
    bits = int(bits * (seconds / (time.monotonic() - begin)) ** 0.63)  # Karatsuba's
    product = (1 << bits) - 1
    return (product * product) & 1


def attempts(folder: Path) -> dict[int, int]:
    """How often each block was begun, in all processes together."""
    return {int(file.stem): file.stat().st_size for file in folder.glob("*.count")}
