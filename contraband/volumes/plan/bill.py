"""What a volume costs in cores, memory, room and money, and what breaks first: arithmetic on figures of others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field

from blockwise.fields import Memory, Positive
from blockwise.settings import Settings, read_yaml

PRICES = Path(__file__).with_name("prices.yaml")


class Limits(Settings):
    """What a place can be expected to have."""

    worker: Memory
    """Memory of a process that works on blocks."""
    driver: Memory
    """Memory of the process that runs the stages."""
    store: Memory
    """One file of SQLite."""
    files: Positive
    """Of an output."""
    driver_days: float = Field(gt=0)
    """Processor time of the driver."""


class Prices(Settings):
    """What an estimate assumes: `prices.yaml`, where each is explained."""

    currency: str
    """Of all that follow."""
    core_hour: float
    """A core, with its memory."""
    gigabyte_month: float
    """Of outputs."""
    months: float
    """For which they are kept."""
    thousand_writes: float
    """Of files."""
    days: float = Field(gt=0)
    """In which all is to be done."""
    limits: Limits
    """What needs more breaks."""


@dataclass(frozen=True)
class Usage:
    """What a run over so many voxels took, or will take."""

    voxels: float
    cpu_seconds: float
    """Of all processes."""
    driver_seconds: float
    """Processor time of the driver, which no worker takes off it; 0: not known."""
    worker_bytes: float
    """Memory of the largest worker."""
    driver_bytes: float
    """Memory of the driver; 0: not known."""
    store_bytes: float
    """Marks and tables."""
    written_bytes: float
    """Of arrays."""
    files: float


@dataclass(frozen=True)
class Bill:
    """What that needs and costs."""

    usage: Usage
    core_hours: float
    cores: int
    """So many that it is done in the time assumed."""
    hours: float
    """That it takes on them; more than that time if the driver is what it waits for."""
    money: float
    breaks: tuple[str, ...]
    """What is over its limit, that of the smallest volume first."""


@cache
def prices() -> Prices:
    """Those that are shipped; raises BadInput for a file that was edited wrongly."""
    return Prices.parse(read_yaml(PRICES), PRICES)


def billed(usage: Usage, assumed: Prices) -> Bill:
    """What it costs by these prices."""
    core_hours = usage.cpu_seconds / 3600
    cores = max(1, math.ceil(core_hours / (24 * assumed.days)))
    kept = usage.written_bytes + usage.store_bytes
    money = (
        core_hours * assumed.core_hour
        + kept / 1e9 * assumed.gigabyte_month * assumed.months
        + usage.files / 1000 * assumed.thousand_writes
    )
    hours = max(core_hours / cores, usage.driver_seconds / 3600)
    return Bill(usage, core_hours, cores, hours, money, _breaks(usage, assumed.limits))


def _breaks(usage: Usage, limits: Limits) -> tuple[str, ...]:
    wanted = (
        ("memory of a worker", usage.worker_bytes, limits.worker, "GB", 1e9),
        ("memory of the driver", usage.driver_bytes, limits.driver, "GB", 1e9),
        ("the store", usage.store_bytes, limits.store, "GB", 1e9),
        ("files", usage.files, limits.files, "million", 1e6),
        ("processor time of the driver", usage.driver_seconds, 86400 * limits.driver_days, "days", 86400),
    )
    over = [
        (most / needed, what, needed / unit, most / unit, name)
        for what, needed, most, name, unit in wanted
        if needed > most
    ]
    return tuple(
        f"{what}: {needed:,.0f} {name} where there are {most:,.0f}, too much from {share * usage.voxels:.0e} voxels on"
        for share, what, needed, most, name in sorted(over)
    )


def in_words(bill: Bill, currency: str) -> str:
    """One line."""
    usage = bill.usage
    cores = "1 core" if bill.cores == 1 else f"{bill.cores:,} cores"
    return (
        f"{usage.voxels:.2g} voxels: {bill.core_hours:,.1f} core hours, {bill.hours:,.1f} hours on {cores}; "
        f"memory of a worker {usage.worker_bytes / 1e9:,.1f} GB; store {usage.store_bytes / 1e9:,.2f} GB, "
        f"arrays {usage.written_bytes / 1e9:,.2f} GB in {usage.files:,.0f} files; {bill.money:,.2f} {currency}"
    )
