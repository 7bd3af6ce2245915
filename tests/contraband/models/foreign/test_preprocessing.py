"""Steps before a network, as a description has them, in the words of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockwise.errors import BadInput
from contraband.models.foreign.preprocessing import normalisation
from contraband.models.foreign.settings import Normalisation

VOLUME = ("batch", "channel", "z", "y", "x")
SECTIONS = ("batch", "channel", "y", "x")


def settings_of(steps: list[dict[str, Any]], axes: tuple[str, ...] = VOLUME) -> Normalisation:
    """What settings say of the steps."""
    tensor = {
        "id": "raw",
        "axes": [{"id": name, "type": name if name in VOLUME[:2] else "space"} for name in axes],
        "preprocessing": steps,
    }
    return normalisation(Path("rdf.yaml"), tensor)


def stretched(axes: tuple[str, ...] | None, **told: Any) -> dict[str, Any]:
    """A step that brings the first and the 99th percentile of some axes to 0 and 1."""
    kwargs = {"axes": axes, "min_percentile": 1, "max_percentile": 99, "reference_tensor": None}
    return {"id": "scale_range", "kwargs": {**kwargs, **told}}


def test_steps_are_done_one_after_the_other() -> None:
    """One factor and one shift give what all of them would."""
    steps = [
        {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
        {"id": "scale_linear", "kwargs": {"gain": 0.25, "offset": -3}},
        {"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": [7.0], "std": [0.3], "axis": "channel"}},
        {"id": "scale_linear", "kwargs": {"gain": [4.0], "offset": [5.0], "axis": "channel"}},
    ]
    raw = np.arange(256.0)
    found = settings_of(steps)
    assert np.allclose(raw * found.factor + found.shift, 4 * ((0.25 * raw - 3) - 7) / 0.3 + 5)
    assert found.percentiles is None


@pytest.mark.parametrize(
    ("together", "axes", "per"),
    [
        (None, VOLUME, "volume"),
        (("channel", "z", "y", "x"), VOLUME, "volume"),
        (("y", "x"), VOLUME, "section"),
        (None, SECTIONS, "volume"),
        (("batch", "y", "x"), SECTIONS, "volume"),
        (("channel", "y", "x"), SECTIONS, "section"),
    ],
)
def test_a_range_is_that_of_all_voxels_that_are_taken_together(
    together: tuple[str, ...] | None, axes: tuple[str, ...], per: str
) -> None:
    """Of the volume, or of each section; to a 2D network sections are a batch."""
    found = settings_of([stretched(together)], axes).percentiles
    assert found is not None
    assert (found.low, found.high, found.per) == (1, 99, per)


def test_what_is_done_before_a_range_is_taken_changes_nothing() -> None:
    """What is done after it does."""
    steps = [{"id": "scale_linear", "kwargs": {"gain": gain, "offset": 1}} for gain in (3, 2)]
    found = settings_of([steps[0], stretched(None), steps[1]])
    assert (found.factor, found.shift) == (2, 1)


REFUSED = {
    "one axis": (stretched(("x",)), "other axes than settings can"),
    "another tensor": (stretched(None, reference_tensor="said"), "range from another tensor"),
    "no range": (stretched(None, min_percentile=99.5), "low must be below high"),
    "whole numbers": ({"id": "ensure_dtype", "kwargs": {"dtype": "uint8"}}, "computes ensure_dtype"),
    "several channels": ({"id": "scale_linear", "kwargs": {"gain": [1, 2], "offset": [0, 0]}}, "several channels"),
    "code": ({"id": "custom", "kwargs": {}}, "computes custom before the network"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_steps_without_a_setting_are_refused(name: str) -> None:
    """The message names the description."""
    step, message = REFUSED[name]
    with pytest.raises(BadInput, match=f"^rdf.yaml: .*{message}"):
        settings_of([step])
