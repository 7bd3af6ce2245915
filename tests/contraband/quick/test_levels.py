"""The levels of a section for rules without labels, whole or in strips."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.quick import levels
from contraband.quick.classical_settings import Classical
from contraband.quick.levels import section_levels


@pytest.mark.parametrize("smooth", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("dark", "plane"), [(False, (90, 70)), (True, (41, 33)), (False, (5, 300))])
def test_strips_have_the_levels_of_the_whole(monkeypatch, smooth, dark, plane):
    """A section that is read strip by strip has the same levels up to rounding, the same however high strips are."""
    random = np.random.default_rng(1)
    image = (random.normal(30, 5, plane) + 100 * (random.random(plane) > 0.6)).astype(np.float32)
    rules = Classical(kind="nuclei", dark=dark, radius=5, dims=2, smooth=smooth)
    read = []

    def rows(begin, end):
        read.append(end - begin)
        return image[begin:end]

    whole = section_levels(rows, plane, rules)
    monkeypatch.setattr(levels, "WHOLE_VX", 0)
    for strip in (7 * plane[1], 20 * plane[1]):
        monkeypatch.setattr(levels, "STRIP_VX", strip)
        read.clear()
        assert section_levels(rows, plane, rules) == pytest.approx(whole, rel=1e-6)
        assert max(read) <= strip // plane[1] + 2 * 12


@pytest.mark.parametrize("dark", [False, True])
def test_a_large_section_of_one_value_has_no_object(monkeypatch, dark):
    """The levels are those of a small one."""
    image = np.full((40, 40), 7, np.float32)
    rules = Classical(kind="nuclei", dark=dark, radius=5, dims=2)
    whole = section_levels(lambda begin, end: image[begin:end], (40, 40), rules)
    monkeypatch.setattr(levels, "WHOLE_VX", 0)
    assert section_levels(lambda begin, end: image[begin:end], (40, 40), rules) == whole
