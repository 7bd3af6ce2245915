"""What a larger volume will need: sums that can be done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contraband.volumes.plan.bill import Usage, billed, in_words, prices

SMALL = Usage(
    voxels=1e9,
    cpu_seconds=360,
    driver_seconds=10,
    worker_bytes=5e8,
    driver_bytes=1e9,
    store_bytes=1e8,
    written_bytes=9e8,
    files=2000,
)


def test_a_bill_is_the_sum_of_cores_room_and_files() -> None:
    """By the prices that are shipped, which parse; a core that works for a week is one core."""
    assumed = prices().model_copy(
        update={"core_hour": 2.0, "gigabyte_month": 3.0, "months": 4.0, "thousand_writes": 5.0, "days": 1.0}
    )
    bill = billed(replace(SMALL, cpu_seconds=3600 * 48.5), assumed)
    assert bill.core_hours == 48.5
    assert bill.cores == 3
    assert bill.hours == pytest.approx(48.5 / 3)
    assert bill.money == pytest.approx(48.5 * 2 + 1 * 3 * 4 + 2 * 5)
    assert not bill.breaks
    assert "48.5 core hours, 16.2 hours on 3 cores" in in_words(bill, "EUR")
    assert billed(replace(SMALL, driver_seconds=3600 * 20), assumed).hours == 20


def test_what_breaks_first_is_named_first() -> None:
    """Each limit that is passed, with the volume from which on; what is within its limit is not named."""
    assumed = prices()
    limits = assumed.limits
    usage = replace(SMALL, driver_bytes=2.0 * limits.driver, files=10 * limits.files, store_bytes=limits.store)
    first, second = billed(usage, assumed).breaks
    assert first.startswith("files: 1,000 million where there are 100, too much from 1e+08 voxels on")
    assert second.startswith("memory of the driver: 128 GB where there are 64, too much from 5e+08 voxels on")
