"""Values that mean that nothing is known are told from those that mean something."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blockwise.arrays.values import check_finite, inside_mask, unlabelled
from blockwise.errors import WorkFailed


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [("int8", -1), ("int64", -1), ("uint8", 255), ("uint32", 2**32 - 1), ("uint64", 2**64 - 1), ("bool", None)],
)
def test_each_type_of_labels_has_a_number_for_not_labelled(dtype: str, wanted: int | None) -> None:
    """-1, or the largest where there are no negative ones."""
    assert unlabelled(np.dtype(dtype)) == wanted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [(), (2,)])
def test_raw_that_is_not_finite_is_refused_with_its_place(value: float, channels: tuple[int, ...]) -> None:
    """In coordinates of the volume, whatever the block."""
    raw = np.zeros((*channels, 3, 4, 5), np.float32)
    raw[..., 1, 2, 3] = value
    with pytest.raises(
        WorkFailed, match=r"vol/raw: raw holds NaN or infinite values, here first at voxel \[11, 2, 8\]"
    ):
        check_finite(raw, "vol/raw", (10, 0, 5))


@pytest.mark.parametrize("raw", [np.zeros((2, 2, 2), np.float32), np.full((2, 2, 2), 255, np.uint8)], ids=str)
def test_raw_that_is_finite_passes(raw: Any) -> None:
    """Whole numbers are not looked at."""
    check_finite(raw, "vol/raw", (0, 0, 0))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("inside", [1, 255])
def test_a_mask_may_be_of_any_type(dtype: str, inside: int) -> None:
    """0 is outside and any other whole number inside, as truth values, integers and floats."""
    mask = np.array([0, inside, 0], dtype)
    assert inside_mask(mask, "a.zarr").tolist() == [False, True, False]


@pytest.mark.parametrize(("value", "dtype"), [(0.3, "float32"), (np.nan, "float64"), (-1, "int16"), (-1.0, "float32")])
def test_what_may_mean_anything_is_no_mask(value: float, dtype: str) -> None:
    """Probabilities, holes and -1 are refused with the number: neither inside nor outside is sure to be meant."""
    with pytest.raises(WorkFailed, match=rf"a.zarr: a mask is 0 outside.*here is {value:g}"):
        inside_mask(np.array([0, 1, value], dtype), "a.zarr")
