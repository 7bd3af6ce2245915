"""Where tests find files that are not theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
SHARED_DATA = ROOT.parent / "shared" / "data"
"""Published data sets, in a folder beside the checkout; never part of it."""


def real_data(name: str) -> Path:
    """The file of a published data set; skips the test, with the reason, where it is absent."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"needs the data set {name} in ../shared/data")
    return path
