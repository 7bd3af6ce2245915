"""Rules that predict without labels: the same numbers in every tile, and a valley between two objects."""

from __future__ import annotations

import numpy as np
import pytest

from contraband.quick.classical import ClassicalPredictor
from contraband.quick.classical_settings import Classical
from contraband.quick.curvature import largest_curvature_2d, largest_curvature_3d
from contraband.quick.otsu import otsu_levels
from tests.support.nuclei import nuclei

RULES = [
    Classical(kind="nuclei", dark=False, radius=6, dims=3, z_scale=0.25),
    Classical(kind="nuclei", dark=True, radius=6, dims=2),
    Classical(kind="cells", dark=False, radius=8, dims=2, smooth=2),
    Classical(kind="membranes", dark=True, radius=2, dims=3),
    Classical(kind="membranes", dark=False, radius=1, dims=2),
]


@pytest.mark.parametrize("rules", RULES, ids=lambda one: f"{one.kind}-{one.dims}D")
def test_a_tile_gives_what_the_whole_gives(rules: Classical) -> None:
    """Every tile, wherever it begins and however large it is, has the bytes of the whole."""
    predictor = ClassicalPredictor(rules)
    context = predictor.context
    shape = (9, 37, 41)
    raw = np.random.default_rng(0).random([n + 2 * c for n, c in zip(shape, context, strict=True)], np.float32)
    whole = predictor(raw)
    assert whole.shape == (predictor.channels, *shape)
    assert len(np.unique(predictor.quantised(raw))) > 50
    for begin, size in [((0, 0, 0), (9, 37, 41)), ((3, 5, 7), (4, 20, 11)), ((8, 36, 40), (1, 1, 1))]:
        read = tuple(slice(b, b + n + 2 * c) for b, n, c in zip(begin, size, context, strict=True))
        write = tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))
        np.testing.assert_array_equal(predictor(raw[read]), whole[(slice(None), *write)])


def test_curvature_is_the_largest_eigenvalue() -> None:
    """In both dimensions it is what numpy finds for the same second differences."""
    values = np.random.default_rng(1).random((3, 3, 3)).astype(np.float32)
    middle = values[1, 1, 1].astype(float)
    scale = np.array([0.5, 1, 1])
    hessian = np.empty((3, 3))
    for a in range(3):
        for b in range(3):
            if a == b:
                low, high = (values[tuple(1 + side * (axis == a) for axis in range(3))] for side in (-1, 1))
                hessian[a, a] = float(low) + float(high) - 2 * middle
            else:
                corners = [
                    s * t * float(values[tuple(1 + s * (axis == a) + t * (axis == b) for axis in range(3))])
                    for s in (-1, 1)
                    for t in (-1, 1)
                ]
                hessian[a, b] = sum(corners) / 4
    hessian *= np.outer(scale, scale)
    found = largest_curvature_3d(values, np.float32(0.5))
    assert found.shape == (1, 1, 1)
    assert found.item() == pytest.approx(np.linalg.eigvalsh(hessian)[-1], abs=1e-5)
    flat = largest_curvature_2d(values[1:2])
    assert flat.item() == pytest.approx(np.linalg.eigvalsh(hessian[1:, 1:])[-1], abs=1e-5)


def test_touching_nuclei_are_parted_by_low_affinity() -> None:
    """Between two discs that touch the affinity is below one half, in the middle of each it is far above."""
    y, x = np.mgrid[:60, :90]
    discs = ((np.hypot(y - 30, x - 31) < 14.5) | (np.hypot(y - 30, x - 59) < 14.5)).astype(np.float32)[None]
    rules = Classical(kind="nuclei", dark=False, radius=14, dims=2)
    predictor = ClassicalPredictor(rules)
    around = [(side, side) for side in predictor.context]
    found = predictor(np.pad(discs, around, mode="reflect"))
    along_x, foreground = found[1, 0, 30], found[-1, 0, 30]
    assert along_x[44:47].max() < 0.45
    assert min(along_x[31], along_x[59]) > 0.6
    assert foreground[45] > 0.5 > foreground[5]


def test_dark_objects_are_bright_ones_turned_round() -> None:
    """The rules for dark objects give for the negative of an image what those for bright ones give for the image."""
    raw = nuclei((4, 64, 64))[0].astype(np.float32) / 2048
    bright, dark = (Classical(kind="nuclei", dark=one, radius=10, dims=2) for one in (False, True))
    np.testing.assert_allclose(ClassicalPredictor(bright)(raw), ClassicalPredictor(dark)(1 - raw), atol=1e-3)


def test_an_empty_section_has_no_object() -> None:
    """Where all values are the same, none is above the middle of bright objects, nor below that of dark ones."""
    empty = np.full((8, 8), 7.0)
    low, high = otsu_levels(empty, dark=False)
    assert (7 - low) / (high - low) <= 0.5
    low, high = otsu_levels(empty, dark=True)
    assert 1 - (7 - low) / (high - low) <= 0.5
