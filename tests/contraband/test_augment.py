"""Random views: the identity, exact copies, and points that stay where the voxels go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contraband.augment import Augmenter, move, to_relative, to_voxels
from contraband.photometry import change_intensities, gaussian
from contraband.targets import affinities, grow_boundary, margin_for
from contraband.train_settings import Augmentations
from contraband.views import two_views

CPU = torch.device("cpu")
SHAPES = [(1, 40, 40), (24, 30, 30)]


def settings(**change) -> Augmentations:
    return Augmentations.parse(change, "test")


def everything(jitter: float = 1.0) -> Augmentations:
    params = {"control_point_spacing": [8, 8, 8], "jitter_sigma": [jitter] * 3, "rotation_interval": [0, "2 * pi"]}
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
def test_points_go_where_the_voxels_go(shape, seed):
    """A point carried to the output lies within a voxel of the blob it marks, and carried back where it was."""
    augmenter = Augmenter(everything(), shape)
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


def test_raw_and_smaller_labels_move_together():
    """Labels asked for on a smaller extent are those of the centre of the larger one."""
    augmenter = Augmenter(everything(), (20, 20, 20))
    labels = torch.randint(0, 9, (1, 1, *augmenter.source_shape))
    geometry = augmenter.draw([4], CPU)
    whole, centre = move(labels, geometry, (20, 20, 20)), move(labels, geometry, (12, 12, 12))
    assert torch.equal(whole[..., 4:16, 4:16, 4:16], centre)


def test_a_sample_does_not_depend_on_its_batch():
    """Views of a seed are the same alone and beside others."""
    every = everything().model_copy(update={"blur": True, "noise": True, "intensity": True})
    augmenter = Augmenter(every, (1, 20, 20))
    source = torch.rand(3, 1, *augmenter.source_shape)
    together = two_views(augmenter, source, [7, 8, 9], (1, 12, 12), 5)
    alone = two_views(augmenter, source[1:2], [8], (1, 12, 12), 5)
    for name, value in alone.items():
        torch.testing.assert_close(together[name][1:2], value, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_paired_points_show_the_same_place(shape):
    """Raw that tells its own position reads nearly the same at both points of every pair."""
    augmenter = Augmenter(everything(0.5), shape)
    axes = (torch.arange(n, dtype=torch.float32) for n in augmenter.source_shape)
    source = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    views = two_views(augmenter, source, [3], shape, 60)
    assert views["valid"].float().mean() > 0.9
    read = [views[f"raw_{v}"][0][(slice(None), *views[f"points_{v}"][0].T)] for v in (0, 1)]
    assert (read[0] - read[1])[:, views["valid"][0]].abs().max() < 1.2
    assert not torch.equal(views["raw_0"], views["raw_1"])


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
