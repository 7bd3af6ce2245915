"""How channels of an exported image are shown: their colours, and the values between which they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from blockwise.arrays.pyramid import Level, plan_levels
from contraband.volumes.export.colours import colours, described_channels


def stored(folder: Path, values: np.ndarray, level: int = 0) -> list[Level]:
    """Store a level of an image; returns all levels of one of its size."""
    zarr.create_array(folder / str(level), data=values)
    return plan_levels(values.shape[-3:], (1, 1, 1))


def test_two_channels_are_told_apart_and_three_are_red_green_and_blue() -> None:
    """One is white; of more than there are colours the first come again."""
    assert colours(1) == ("FFFFFF",)
    assert colours(2) == ("00FF00", "FF00FF")
    assert colours(3) == ("FF0000", "00FF00", "0000FF")
    assert colours(9)[7:] == colours(9)[:2]
    assert len(set(colours(7))) == 7


def test_each_channel_has_a_name_and_a_window_of_its_own(tmp_path: Path) -> None:
    """The window ends where few voxels are brighter or darker; names count from 0, as --channel does."""
    dim = np.arange(1000, dtype=np.uint16).reshape(1, 20, 50)
    levels = stored(tmp_path, np.stack([dim, 60 * dim]))
    said = described_channels(tmp_path, levels, 2)
    assert said["rdefs"] == {"model": "color"}
    assert [(one["label"], one["color"]) for one in said["channels"]] == [
        ("channel 0", "00FF00"),
        ("channel 1", "FF00FF"),
    ]
    window = said["channels"][1]["window"]
    assert (window["min"], window["max"]) == (0, 60 * 999)
    np.testing.assert_allclose((window["start"], window["end"]), np.percentile(60 * dim, (0.1, 99.9)))


@pytest.mark.parametrize(
    ("values", "window"),
    [
        ([7, 7, 7, 7], (7, 7, 8, 8)),
        ([0.0, np.nan, np.inf, 2.0], (0, 0.002, 1.998, 2)),
        ([np.nan] * 4, (0, 0, 1, 1)),
        ([0] * 99_999 + [9], (0, 0, 9, 9)),
    ],
)
def test_a_window_is_never_empty(tmp_path: Path, values: list[float], window: tuple[float, ...]) -> None:
    """Nor does it hold what is no number: one value, no number at all, and few voxels unlike all others."""
    levels = stored(tmp_path, np.array(values, np.float32).reshape(1, 4, -1))
    (one,) = described_channels(tmp_path, levels, None)["channels"]
    np.testing.assert_allclose([one["window"][key] for key in ("min", "start", "end", "max")], window, rtol=1e-6)


def test_of_a_large_image_a_smaller_level_is_looked_at(tmp_path: Path) -> None:
    """The largest level is not read: here it is not even there."""
    levels = plan_levels((1, 2100, 2100), (1, 1, 1))
    stored(tmp_path, np.full((1, 1050, 1050), 3, np.uint8), level=1)
    (one,) = described_channels(tmp_path, levels, None)["channels"]
    assert one["window"]["min"] == 3
