"""Random views: the identity, exact copies, and points that stay where the voxels go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contraband.samples.augment import Augmenter, move, to_relative, to_voxels
from contraband.samples.photometry import change_intensities, gaussian
from contraband.samples.settings import Augmentations
from contraband.samples.views import two_views
from contraband.training.targets import affinities, grow_boundary, margin_for

CPU = torch.device("cpu")
SHAPES = [(1, 40, 40), (24, 30, 30)]
GEOMETRY_OF_11 = [-1, 0, 0, 0, -0.5624476671, 0.8268328905, 0, -0.8268328905, -0.5624476671]
DISPLACEMENT_OF_11 = 0.8313363791


def settings(**change) -> Augmentations:
    return Augmentations.parse(change, "test")


def everything(jitter: float = 1.0, zoom: tuple[float, float] = (1, 1)) -> Augmentations:
    params = {
        "control_point_spacing": [8, 8, 8],
        "jitter_sigma": [jitter] * 3,
        "rotation_interval": [0, "2 * pi"],
        "scale_interval": zoom,
    }
    return settings(simple=True, elastic=True, elastic_params=params)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_jitter_and_no_rotation_is_the_identity(shape):
    """Elastic with nothing to do returns the centre of the source, bit for bit."""
    still = {"control_point_spacing": [1, 10, 10], "jitter_sigma": [0.0, 0.0, 0.0]}
    augmenter = Augmenter(settings(elastic=True, elastic_params=still), shape)
    source = torch.rand(2, 1, *augmenter.source_shape)
    assert augmenter.source_shape == shape
    assert torch.equal(augmenter.raw(source, augmenter.draw([1, 2], CPU), [1, 2]), source)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_vanishing_displacement_is_nearly_the_identity(shape):
    """Interpolation itself moves nothing: raw differs by rounding, labels not at all."""
    tiny = {"control_point_spacing": [5, 5, 5], "jitter_sigma": [0.0, 1e-6, 1e-6]}
    augmenter = Augmenter(settings(elastic=True, elastic_params=tiny), shape)
    raw, geometry = torch.rand(1, 1, *augmenter.source_shape), augmenter.draw([5], CPU)
    labels = (raw * 1000).long()
    cut = tuple(slice((n - m) // 2, (n + m) // 2) for n, m in zip(augmenter.source_shape, shape, strict=True))
    torch.testing.assert_close(move(raw, geometry, shape), raw[(..., *cut)], atol=1e-4, rtol=0)
    assert torch.equal(move(labels, geometry, shape), labels[(..., *cut)])


def test_mirrors_and_transposes_copy_voxels():
    """All 48 symmetries of a cube come up, and values are moved, never mixed."""
    augmenter, source = Augmenter(settings(simple=True), (4, 4, 4)), torch.arange(64.0).reshape(1, 1, 4, 4, 4)
    seen = set()
    for seed in range(600):
        moved = augmenter.raw(source, augmenter.draw([seed], CPU), [seed])
        assert sorted(moved.flatten().tolist()) == list(range(64))
        seen.add(tuple(moved.flatten().tolist()))
    assert len(seen) == 48


def test_axes_that_may_not_change_stay():
    """mirror_only and transpose_only are obeyed, and unequal axes never change places."""
    params = {"mirror_only": [2], "transpose_only": [1, 2]}
    augmenter = Augmenter(settings(simple=True, simple_params=params), (3, 4, 5))
    source = torch.arange(60.0).reshape(1, 1, 3, 4, 5)
    seen = {tuple(augmenter.raw(source, augmenter.draw([s], CPU), [s]).flatten().tolist()) for s in range(40)}
    assert seen == {tuple(source.flatten().tolist()), tuple(source.flip(-1).flatten().tolist())}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("zoom", [(1, 1), (0.5, 0.7), (1.5, 2)])
def test_points_go_where_the_voxels_go(shape, seed, zoom):
    """A point carried to the output lies within a voxel of the blob it marks, and carried back where it was."""
    augmenter = Augmenter(everything(zoom=zoom), shape)
    geometry, extents = augmenter.draw([seed], CPU), augmenter.source_shape
    rng = np.random.default_rng(seed)
    low = [n // 2 - n // 5 for n in extents]
    for _ in range(5):
        point = [int(rng.integers(a, n - a)) if n > 1 else 0 for a, n in zip(low, extents, strict=True)]
        grids = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in extents), indexing="ij")
        blob = torch.exp(-sum((g - p) ** 2 for g, p in zip(grids, point, strict=True)) / 4)[None, None]
        relative = to_relative(torch.tensor([[point]], dtype=torch.float32), extents)
        carried = geometry.to_output(relative)
        torch.testing.assert_close(geometry.to_source(carried), relative, atol=1e-3, rtol=0)
        voxels, inside = to_voxels(carried, shape)
        if inside.item():
            moved = move(blob, geometry, shape)[0, 0]
            brightest = np.array(np.unravel_index(int(moved.argmax()), shape))
            assert np.abs(brightest - voxels[0, 0].numpy()).max() <= 1


@pytest.mark.parametrize("zoom", [(1, 1), (0.5, 2)])
def test_raw_and_smaller_labels_move_together(zoom):
    """Labels asked for on a smaller extent are those of the centre of the larger one."""
    augmenter = Augmenter(everything(zoom=zoom), (20, 20, 20))
    labels = torch.randint(0, 9, (1, 1, *augmenter.source_shape))
    geometry = augmenter.draw([4], CPU)
    whole, centre = move(labels, geometry, (20, 20, 20)), move(labels, geometry, (12, 12, 12))
    assert torch.equal(whole[..., 4:16, 4:16, 4:16], centre)


def test_a_sample_does_not_depend_on_its_batch():
    """Views of a seed are the same alone and beside others."""
    every = everything(zoom=(0.5, 2)).model_copy(update={"blur": True, "noise": True, "intensity": True})
    augmenter = Augmenter(every, (1, 20, 20))
    source = torch.rand(3, 1, *augmenter.source_shape)
    together = two_views(augmenter, source, [7, 8, 9], (1, 12, 12), 5)
    alone = two_views(augmenter, source[1:2], [8], (1, 12, 12), 5)
    for name, value in alone.items():
        torch.testing.assert_close(together[name][1:2], value, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("zoom", [(1, 1), (0.8, 2)])
def test_paired_points_show_the_same_place(shape, zoom):
    """Raw that tells its own position reads nearly the same at both points of every pair."""
    augmenter = Augmenter(everything(0.5, zoom), shape)
    axes = (torch.arange(n, dtype=torch.float32) for n in augmenter.source_shape)
    source = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    views = two_views(augmenter, source, [3], shape, 60)
    assert views["valid"].float().mean() > 0.9
    read = [views[f"raw_{v}"][0][(slice(None), *views[f"points_{v}"][0].T)] for v in (0, 1)]
    assert (read[0] - read[1])[:, views["valid"][0]].abs().max() < 1.2
    assert not torch.equal(views["raw_0"], views["raw_1"])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("zoom", "extent"), [(0.5, 6), (2.0, 24)])
def test_a_zoom_changes_sizes_in_the_section(shape, zoom, extent):
    """A block 12 voxels wide becomes half or twice as wide in y and x and keeps its sections, in raw and labels."""
    augmenter = Augmenter(
        settings(elastic=True, elastic_params={"jitter_sigma": [0, 0, 0], "scale_interval": [zoom, zoom]}), shape
    )
    source = torch.zeros(1, 1, *augmenter.source_shape)
    middle = [slice(n // 2 - 6, n // 2 + 6) if n > 1 else slice(0, 1) for n in augmenter.source_shape]
    source[(0, 0, *middle)] = 1
    geometry = augmenter.draw([0], CPU)
    wanted = [min(12, shape[0]), extent, extent]
    labels = move(source.long(), geometry, shape)[0, 0]
    assert [int(n) for n in labels.nonzero().max(0).values - labels.nonzero().min(0).values + 1] == wanted
    assert float(augmenter.raw(source, geometry, [0]).sum()) == pytest.approx(np.prod(wanted), rel=0.05)
    assert augmenter.source_shape[1] == max(shape[1], shape[1] / zoom)


def test_a_zoom_of_one_draws_nothing():
    """Settings without a zoom give the very geometry they gave before there was one."""
    augmenter = Augmenter(everything(), (8, 20, 20))
    geometry = augmenter.draw([11], CPU)
    assert geometry.shrink is None
    assert geometry.matrix.flatten().tolist() == pytest.approx(GEOMETRY_OF_11, abs=1e-6)
    assert float(geometry.control[0, 1, 0, 0, 0]) == pytest.approx(DISPLACEMENT_OF_11, abs=1e-6)


def test_a_zoomed_out_texture_loses_its_detail():
    """Halving the size of a checkerboard gives its mean, not every second voxel."""
    augmenter = Augmenter(
        settings(elastic=True, elastic_params={"jitter_sigma": [0, 0, 0], "scale_interval": [0.25, 0.25]}), (1, 12, 12)
    )
    y, x = np.indices(augmenter.source_shape[1:])
    source = torch.from_numpy(((y + x) % 2).astype(np.float32))[None, None, None]
    assert augmenter.raw(source, augmenter.draw([0], CPU), [0]).std() < 0.1


def test_gain_and_gamma_keep_black_black():
    """Gain scales raw, gamma bends it; both leave 0 and the order of values."""
    raw = torch.linspace(0, 1, 11).reshape(1, 1, 1, 1, 11)
    still = {"scale": [1, 1], "shift": [0, 0]}
    dim = change_intensities(raw, settings(intensity=True, intensity_params=still | {"gain": [0.25, 0.25]}), [0])
    torch.testing.assert_close(dim, raw / 4)
    bent = change_intensities(raw, settings(intensity=True, intensity_params=still | {"gamma": [2, 2]}), [0])
    torch.testing.assert_close(bent, raw**2)
    drawn = [
        float(
            change_intensities(
                raw, settings(intensity=True, intensity_params=still | {"gain": [0.25, 4]}), [seed]
            ).max()
        )
        for seed in range(60)
    ]
    assert 0.25 <= min(drawn) < 0.5 < 2 < max(drawn) <= 4
    assert 15 < sum(gain < 1 for gain in drawn) < 45


def test_intensities_change_only_what_is_asked_for():
    """Without photometric settings raw is untouched; a blur keeps the mean of a constant."""
    raw = torch.rand(2, 1, 1, 9, 9)
    assert change_intensities(raw, settings(), [0, 1]) is raw
    torch.testing.assert_close(gaussian(torch.ones(1, 3, 9, 9), [1, 2, 0.5]), torch.ones(1, 3, 9, 9))
    noisy = change_intensities(raw, settings(noise=True, noise_params={"var": 0.01}), [0, 1])
    assert (noisy - raw).std() == pytest.approx(0.1, rel=0.2)


def test_affinities_follow_the_definition():
    """Channel k joins v and v + offset; background and unknown neighbours are told apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, (1, 5, 6, 7))
    offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 2, -1))
    margin = margin_for(offsets, 0, 5)
    found, known = affinities(torch.from_numpy(labels), offsets, margin)
    assert found.shape == (1, 4, 3, 2, 5)
    for k, z, y, x in np.ndindex(4, 3, 2, 5):
        here = labels[0, z + margin[0], y + margin[1], x + margin[2]]
        there = labels[(0, *(np.array([z, y, x]) + margin + offsets[k]))]
        assert bool(known[0, k, z, y, x]) == (here != -1 and there != -1)
        if known[0, k, z, y, x]:
            assert bool(found[0, k, z, y, x]) == (here == there and here > 0)


def test_only_touching_labels_are_parted():
    """A boundary grows between two labels, on both sides, and not towards background or the unknown."""
    labels = torch.tensor([[[[5, 5, 5, 5, 7, 7, 7, 0, 0, -1, 7, 7]]]])
    assert grow_boundary(labels, 1).flatten().tolist() == [5, 5, 5, 0, 0, 7, 7, 0, 0, -1, 7, 7]
