"""Gaussian features: what they measure, and that blocks do not change them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from contraband.quick.gaussian import GaussianFeatures, gaussian
from tests.support.affinities import blocks, box

SCALES = (0.7, 1.6, 3.0)


def image(shape, seed=0):
    """Noise with some structure in it."""
    random = np.random.default_rng(seed).standard_normal(shape)
    return (ndimage.gaussian_filter(random, 1) * 200 + 100).astype(np.float32)


@pytest.mark.parametrize("block", [(1, 7, 9), (3, 16, 5), (5, 40, 11), (2, 3, 40)])
@pytest.mark.parametrize("dims", [2, 3])
def test_blocks_change_no_bit(dims, block):
    """Computed block by block from what lies around each, features are those of the whole volume to the last bit."""
    raw = image((5, 41, 37))
    features = GaussianFeatures(scales=SCALES, z_scale=0.5)
    whole = features.of(raw, dims)
    halo = features.halo(dims)
    around = np.pad(raw, [(side, side) for side in halo], mode="reflect")
    assert whole.shape == (features.count(dims), *raw.shape)
    for begin, end in blocks(raw.shape, block):
        high = tuple(last + 2 * side for last, side in zip(end, halo, strict=True))
        piece = features.within(around[box(begin, high)], dims)
        np.testing.assert_array_equal(piece, whole[(slice(None), *box(begin, end))])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_smaller_volume_than_its_halo_is_mirrored_again(dims):
    """A volume of few voxels has features too, finite ones."""
    features = GaussianFeatures(scales=(4.0,))
    assert np.isfinite(features.of(image((1, 3, 5)), dims)).all()


def test_scales_beside_others_give_the_same():
    """What a scale measures does not depend on the scales beside it."""
    raw = image((2, 30, 33))
    both = GaussianFeatures(scales=(1.0, 2.5)).of(raw, 2)
    np.testing.assert_array_equal(both[7:], GaussianFeatures(scales=(2.5,)).of(raw, 2))


@pytest.mark.parametrize("dims", [2, 3])
def test_features_are_those_of_scipy(dims):
    """Smoothing is SciPy's with the same kernel; derivatives are differences of it, eigenvalues those of numpy."""
    raw = image((9, 20, 21))
    scale = 1.5
    found = GaussianFeatures(scales=(scale,)).of(raw, dims)
    smooth = blurred(raw, scale, dims)
    axes = [1, 2] if dims == 2 else [0, 1, 2]
    gradient = [derivative(smooth, axis) for axis in axes]
    hessian = [[second(smooth, one, other) for other in axes] for one in axes]
    products = [[blurred(one * other, scale / 2, dims) for other in gradient] for one in gradient]
    expected = [
        smooth,
        np.sqrt(sum(one**2 for one in gradient)),
        sum(hessian[place][place] for place in range(dims)),
        *eigenvalues(hessian),
        *eigenvalues(products),
    ]
    # the mirrored gradient is not the gradient's mirror image: compare where no kernel reaches the edge
    inner = (slice(None), slice(4, -4) if dims == 3 else slice(None), slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(found[inner], np.stack(expected)[inner], rtol=1e-3, atol=2e-3)


def test_thick_sections_are_smoothed_less_along_z():
    """With sections four voxels thick, a sphere in the world has the same features along all its axes."""
    z, y, x = np.ogrid[-8:9, -32:33, -32:33]
    ball = np.exp(-((4 * z) ** 2 + y**2 + x**2) / 200).astype(np.float32)
    found = GaussianFeatures(scales=(8.0,), z_scale=0.25).of(ball, 3)[:, 8, 32, 32]
    largest, middle, least = found[3:6]
    assert largest < 0
    np.testing.assert_allclose([largest, middle], least, rtol=0.05)


def blurred(values, scale, dims):
    """SciPy's Gaussian of the same kernel."""
    half = gaussian(scale).astype(np.float64)
    kernel = np.concatenate([half[:0:-1], half])
    result = values.astype(np.float64)
    for axis in (1, 2) if dims == 2 else (0, 1, 2):
        result = ndimage.correlate1d(result, kernel, axis=axis, mode="mirror")
    return result


def derivative(values, axis):
    """Half the difference of the neighbours along an axis."""
    return ndimage.correlate1d(values, [-0.5, 0, 0.5], axis=axis, mode="mirror")


def second(values, one, other):
    """Second differences along one axis or along two."""
    if one == other:
        return ndimage.correlate1d(values, [1, -2, 1], axis=one, mode="mirror")
    return derivative(derivative(values, one), other)


def eigenvalues(rows):
    """Eigenvalues of matrices of images, largest first."""
    matrices = np.moveaxis(np.array(rows), (0, 1), (-2, -1))
    return np.moveaxis(np.linalg.eigvalsh(matrices)[..., ::-1], -1, 0)
