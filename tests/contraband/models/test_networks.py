"""The U-Net and the heads: shapes, the oracle, and values that do not depend on the tile."""

from __future__ import annotations

import itertools

import pytest
import torch

from blockwise.errors import BadInput
from contraband.experiments.building import network_shapes
from contraband.models.heads import SparseSegHead, gather_points, per_point
from contraband.models.networks import ContrastiveVolumeNet, SegmentationNet
from contraband.models.settings import ModelSettings
from contraband.models.unet import UNet


def settings(**change) -> ModelSettings:
    return ModelSettings.parse({"in_shape": [96, 96], "num_fmaps": 2, "fmap_inc_factors": 2} | change, "test")


def test_the_example_of_the_seed_gives_168():
    """260 x 260 in, 168 x 168 out."""
    net = UNet(settings(in_shape=[260, 260]))
    assert net.output_shape((260, 260)) == (168, 168)
    assert net(torch.zeros(1, 1, 260, 260)).shape == (1, 2, 168, 168)


def test_a_stack_may_keep_its_sections():
    """14 x 260 x 260 in, 6 x 168 x 168 out, with no pooling in z and z kernels on the first level only."""
    deep, flat = [[3, 3, 3], [3, 3, 3]], [[1, 3, 3], [1, 3, 3]]
    net = UNet(
        settings(
            in_shape=[14, 260, 260],
            num_fmaps=1,
            fmap_inc_factors=1,
            downsample_factors=[[1, 2, 2]] * 3,
            kernel_size_down=[deep, flat, flat, flat],
            kernel_size_up=[deep, flat, flat],
        )
    )
    assert net.output_shape((14, 260, 260)) == (6, 168, 168)
    assert net(torch.zeros(1, 1, 14, 260, 260)).shape[2:] == (6, 168, 168)


@pytest.mark.parametrize("factors", list(itertools.product([1, 2, 3], repeat=2)))
@pytest.mark.parametrize(("down", "up"), [(1, 1), (2, 2), (1, 2), (3, 1)])
def test_promised_shapes_are_the_real_ones(factors, down, up):
    """For any factors and kernels, nearest_input gives what runs and output_shape what comes out."""
    net = UNet(
        settings(
            downsample_factors=[[f, f] for f in factors],
            num_fmaps=1,
            kernel_size_down=[[[3, 3]] * down] * 3,
            kernel_size_up=[[[3, 3]] * up] * 2,
        )
    )
    shape = net.nearest_input((260, 230))
    assert tuple(net(torch.zeros(1, 1, *shape)).shape[2:]) == net.output_shape(shape)
    assert net.valid_input(net.output_shape(shape)) == shape


def test_inputs_that_do_not_fit_are_refused():
    """What is not in steps is bad input with a size that works; what is too small is brought to the smallest."""
    net = UNet(settings())
    with pytest.raises(BadInput, match="260"):
        net.output_shape((262, 262))
    assert [net.nearest_input((n, 260))[0] for n in (1, 100, 259, 263, 264)] == [100, 100, 260, 260, 268]


@pytest.mark.parametrize(("shape", "wanted"), [([263, 259], "[260, 260]"), ([20, 20], "[100, 100]")])
def test_a_training_input_that_does_not_fit_is_refused(shape, wanted):
    """One line with the nearest extents that do."""
    model = settings(in_shape=shape)
    with pytest.raises(BadInput, match=r"model.in_shape: does not fit") as caught:
        network_shapes(UNet(model), model)
    assert wanted in str(caught.value)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_unet_equals_the_reference(dims):
    """The same weights in tems' U-Net, in evaluation mode, give the same embeddings."""
    tems = pytest.importorskip("tems")
    size = 116 if dims == 2 else 60
    factors = [[2] * dims] * (3 if dims == 2 else 2)
    torch.manual_seed(0)
    mine = UNet(settings(in_shape=[size] * dims, num_fmaps=3, downsample_factors=factors))
    kernels = [[[3] * dims] * 2] * (len(factors) + 1)
    theirs = tems.UNet.funlib_api(dims, 1, 3, 2, factors, kernel_size_down=kernels, kernel_size_up=kernels[1:])
    theirs.eval()
    module = theirs.head_module
    for level, down in enumerate(mine.down):
        bottom = level == len(factors)
        source = module if bottom else module.in_conv_pass
        copy_weights(down, source)
        if not bottom:
            copy_weights(mine.up[level], module.out_conv_pass)
            module = module.lower_block
    shape = mine.nearest_input([size] * dims)
    raw = torch.rand(1, 1, *shape)
    with torch.no_grad():
        assert torch.equal(mine(raw), theirs(raw))


def copy_weights(mine, theirs) -> None:
    for parameter, source in zip(mine.parameters(), theirs.parameters(), strict=True):
        parameter.data.copy_(source.data)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("shape", [[116, 116], [56, 60, 64]])
def test_tiles_equal_the_whole(shape, constant):
    """Prediction in tiles at multiples of the step equals prediction in one piece."""
    factors = [[2] * len(shape)] * 2
    torch.manual_seed(1)
    net = UNet(settings(in_shape=shape, downsample_factors=factors, constant_upsample=constant))
    shape = net.nearest_input(shape)
    raw = torch.rand(1, 1, *shape)
    with torch.no_grad():
        whole, tile = net(raw), tuple(net.step)
        for corner in itertools.product(*(range(0, n, s) for n, s in zip(whole.shape[2:], tile, strict=True))):
            part = [slice(c, c + t + lost) for c, t, lost in zip(corner, tile, net.context, strict=True)]
            found = net(raw[(slice(None), slice(None), *part)])
            wanted = whole[(slice(None), slice(None), *(slice(c, c + t) for c, t in zip(corner, tile, strict=True)))]
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_head_says_the_same_of_points_and_of_volumes(dims):
    """Linear layers at points equal convolutions with kernel 1 to 1e-6."""
    torch.manual_seed(2)
    head, volume = SparseSegHead(5, 3), torch.randn(2, 5, *[6] * dims)
    points = torch.randint(0, 6, (2, 7, dims))
    at_points, everywhere = per_point(head, gather_points(volume, points)), head(volume)
    for b, p in itertools.product(range(2), range(7)):
        wanted = everywhere[(b, slice(None), *points[b, p])]
        torch.testing.assert_close(at_points[b, p], wanted, atol=1e-6, rtol=0)


def test_networks_take_volumes_and_points():
    """Both networks say of points what they would say of the volume."""
    model = settings(h_channels=4, contrastive_out_channels=3, downsample_factors=[[2, 2]])
    raw, points = torch.rand(2, 1, 32, 32), torch.randint(0, 8, (2, 5, 2))
    seg = SegmentationNet(model, "Sparse", 2)
    everywhere = seg(raw)
    assert seg(raw, points).shape == (2, 5, 2)
    torch.testing.assert_close(seg(raw, points)[1, 2], everywhere[1, :, *points[1, 2]])
    assert ContrastiveVolumeNet(model)(raw, points).shape == (2, 5, 3)


def with_levels(dims, constant=True):
    """A U-Net of three levels and a raw whose output is two steps wide."""
    factors = [[2] * dims, [1, 3, 2][3 - dims :]]
    torch.manual_seed(3)
    net = UNet(
        settings(
            in_shape=[64] * dims, num_fmaps=3, h_channels=5, downsample_factors=factors, constant_upsample=constant
        )
    )
    return net, torch.rand(2, 1, *net.valid_input([2 * step for step in net.step]))


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
def test_several_levels_in_tiles_equal_the_whole(dims, constant):
    """A shift of the input by whole steps shifts every level, brought to the output's voxels, by the same."""
    net, raw = with_levels(dims, constant)
    with torch.no_grad():
        whole = net.aligned(net.decoded(raw, 3))
        assert whole.shape[1] == 5 + 6 + 12
        assert torch.equal(whole[:, :5], net(raw))
        for corner in itertools.product(*((0, step) for step in net.step)):
            sides = list(zip(corner, net.step, net.context, strict=True))
            found = net.aligned(net.decoded(raw[(..., *(slice(c, c + t + lost) for c, t, lost in sides))], 3))
            wanted = whole[(..., *(slice(c, c + t) for c, t, _ in sides))]
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_coarse_level_lies_where_its_voxels_do(dims):
    """Whatever lies in the middle of raw changes each level most in the middle of the output."""
    net, raw = with_levels(dims)
    raw = torch.zeros_like(raw[:1])
    lit = raw.clone()
    lit[(..., *(slice(n // 2 - 1, n // 2 + 1) for n in raw.shape[2:]))] = 1
    with torch.no_grad():
        changed = [(net.aligned(net.decoded(one, 3))) for one in (raw, lit)]
    difference = (changed[1] - changed[0]).abs()[0]
    for level in (difference[:5], difference[5:11], difference[11:]):
        total = level.sum(0)
        assert total.sum() > 0
        for axis, extent in enumerate(total.shape):
            places = torch.arange(extent) + 0.5 - extent / 2
            others = [other for other in range(dims) if other != axis]
            centre = (total.sum(others) * places).sum() / total.sum()
            assert abs(centre) < net.step[axis] / 2


@pytest.mark.parametrize("dims", [2, 3])
def test_levels_at_points_are_those_of_the_volume(dims):
    """Sampling points from coarse levels gives the very numbers that the aligned volume has there."""
    net, raw = with_levels(dims)
    levels = net.decoded(raw, 3)
    whole = net.aligned(levels)
    voxels = torch.stack(torch.meshgrid(*map(torch.arange, whole.shape[2:]), indexing="ij"), -1).reshape(1, -1, dims)
    points = voxels.expand(2, -1, -1)
    assert torch.equal(net.sampled(levels, points), gather_points(whole, points))


@pytest.mark.parametrize("dims", [2, 3])
def test_networks_look_at_several_levels(dims):
    """A head and a projection on three levels take as many channels; a head says the same of points and volumes."""
    model = settings(in_shape=[64] * dims, num_fmaps=3, downsample_factors=[[2] * dims] * 2, contrastive_out_channels=7)
    seg = SegmentationNet(model, "Sparse", 2, levels=3)
    raw = torch.rand(1, 1, *seg.base.valid_input([8] * dims))
    points = torch.randint(0, 8, (1, 5, dims))
    assert seg.feature_channels == 3 + 6 + 12
    everywhere = seg(raw)
    torch.testing.assert_close(seg(raw, points)[0, 2], everywhere[(0, slice(None), *points[0, 2])])
    assert ContrastiveVolumeNet(model, levels=3)(raw, points).shape == (1, 5, 7)
