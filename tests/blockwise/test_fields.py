"""Amounts of memory are read once, by their type, and written as they are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blockwise.errors import BadInput
from blockwise.fields import Memory
from blockwise.settings import Settings


class Shelf(Settings):
    """A section with an amount of memory."""

    memory: Memory | None = None


@pytest.mark.parametrize(
    ("text", "amount", "again"),
    [
        ("8GB", 8 * 10**9, "8GB"),
        ("8 gib", 2**33, "8GiB"),
        ("8G", 8 * 10**9, "8GB"),
        ("1.5MB", 1_500_000, "1500kB"),
        ("12345", 12345, "12345B"),
    ],
)
def test_an_amount_is_bytes_inside_and_text_in_a_file(text: str, amount: int, again: str) -> None:
    """What is written reads as the same number of bytes, to the last one."""
    found = Shelf.parse({"memory": text}, "test")
    assert found.memory == amount
    assert json.loads(found.model_dump_json()) == {"memory": again}
    assert Shelf.parse({"memory": again}, "test") == found == Shelf(memory=amount) == Shelf(memory=text)


@pytest.mark.parametrize(
    "amount", ["lots", "", "GB", "-1GB", "0", "nan", "1e400GB", "8 GB more", "8iB", 8, 8e9, True, [], {}]
)
def test_what_is_no_amount_is_refused_in_a_file(amount: Any) -> None:
    """A number without a unit too, for nobody means eight bytes."""
    with pytest.raises(BadInput, match=r'test: memory: is not an amount of memory, such as "8GB"; got'):
        Shelf.parse({"memory": amount}, "test")


@pytest.mark.parametrize("amount", [0, -1, 2**60, True, 8.0])
def test_a_number_of_bytes_is_checked_too(amount: Any) -> None:
    """In Python a number may be given, and has the same limits."""
    with pytest.raises(ValueError, match="not an amount of memory"):
        Shelf(memory=amount)
