"""The instructions a processor has, by which programs choose how they compute: values differ by rounding."""

from __future__ import annotations

import platform
from pathlib import Path

SEEN = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve", "bf16")
"""Those that programs for networks ask for, by their names in Linux."""
CPUINFO = Path("/proc/cpuinfo")


def instruction_sets() -> str | None:
    """The machine and which of `SEEN` its first processor has: `x86_64 avx avx2 fma`; None where nobody says."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return named_in(text, platform.machine())


def named_in(cpuinfo: str, machine: str) -> str | None:
    """The same of what Linux says of its processors."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            has = set(value.split())
            return " ".join([machine, *(name for name in SEEN if name in has)])
    return None
