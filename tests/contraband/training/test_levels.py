"""Training on several decoder levels: contrast, heads on it, and what `emb` stores of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zarr

from blockwise.engine.options import RunOptions
from blockwise.errors import BadInput
from contraband.experiments import validate
from contraband.experiments.building import contrastive_base, contrastive_task, seg_task
from contraband.experiments.params import load_params
from contraband.experiments.train import train_contrastive, train_seg
from contraband.models.checkpoints import load_checkpoint
from contraband.models.predictor import load_predictor
from tests.support.tiny import changed, tiny_experiment


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("augment", ["loader", "device"])
def test_an_encoder_learns_on_several_levels_and_a_head_begins_with_it(tmp_path, dims, augment):
    """The projection and the head see both levels, and the encoder of the head is the contrastive one."""
    experiment, params = tiny_experiment(tmp_path, dims, levels=2, freeze_base=True, augment=augment)
    params = changed(params, "contrastive", levels=2, exclusion=6.0)
    encoder = train_contrastive(params, experiment, 0)
    (head,) = train_seg(params, experiment, 0, [10])
    first, second = load_checkpoint(encoder), load_checkpoint(head)
    assert first["ema"]["projection.layers.0.weight"].shape[1] == 8 + 16
    assert second["ema"]["head.layers.0.weight"].shape[1] == 8 + 16
    base = [name for name in second["ema"] if name.startswith("base.")]
    assert all(torch.equal(first["ema"][name], second["ema"][name]) for name in base)
    predictor = load_predictor(head, "affinities", device="cpu")
    raw = np.random.default_rng(0).integers(0, 255, predictor.input_shape(predictor.fit_output((4, 8, 8))))
    assert predictor(raw).shape[0] == dims


def test_a_training_on_points_may_begin_with_a_contrastive_encoder(tmp_path):
    """End to end at points without `baseline`: the weights are those of its checkpoint at first, and are trained on."""
    experiment, params = tiny_experiment(tmp_path, 2, "baseline_sparse_sh", levels=2, num_iterations=1)
    params = changed(params, "contrastive", levels=2)
    first = load_checkpoint(train_contrastive(params, experiment, 0))["ema"]
    base = contrastive_base(experiment, params.combination(0), 10)
    task = seg_task(params, params.model[0], params.seg[0], True, base, None)
    assert all(torch.equal(value, first[f"base.{name}"]) for name, value in task.network.base.named_parameters())
    with pytest.raises(BadInput, match="a head needs contrastive checkpoints"):
        train_seg(params, experiment, 0)
    (path,) = train_seg(params, experiment, 0, [10])
    after = load_checkpoint(path)["network"]
    assert any(not torch.equal(after[name], first[name]) for name in after if name.startswith("base."))


def test_exclusion_is_in_units_of_the_data(tmp_path):
    """Twice the voxel size and twice the distance give the same loss, another distance another; 0 is as without it."""
    _, params = tiny_experiment(tmp_path, 2)
    array = zarr.open_group(str(tmp_path / "data.zarr"))["raw"]

    def loss(voxel_size, exclusion):
        array.attrs["voxel_size"] = voxel_size
        settings = params.contrastive[0].model_copy(update={"exclusion": exclusion, "point_density": 0.1})
        task = contrastive_task(params.model[0], settings, True)
        batch = {name: torch.stack([task.samples[0][name], task.samples[1][name]]) for name in task.samples[0]}
        return float(task.loss(batch).detach())

    assert loss([1, 1, 1], 5.0) == loss([2, 2, 2], 10.0) != loss([1, 1, 1], 0.0)
    assert loss([1, 1, 1], 5.0) != loss([2, 2, 2], 5.0)


def test_exclusion_needs_volumes_of_one_voxel_size(tmp_path):
    """One line that names both."""
    _, params = tiny_experiment(tmp_path, 2)
    group = zarr.open_group(str(tmp_path / "data.zarr"))
    group.create_array("other", data=group["raw"][:], attributes={"voxel_size": [1, 4, 4]})
    settings = params.contrastive[0].model_copy(update={"exclusion": 5.0, "dataset": ("raw", "other")})
    with pytest.raises(BadInput, match=r"contrastive.exclusion: .*other has other voxels than .*raw"):
        contrastive_task(params.model[0], settings, True)


@pytest.mark.parametrize("dims", [2, 3])
def test_embeddings_of_several_levels_are_stored_for_heads_of_as_many(tmp_path, dims):
    """`emb` writes both levels, as one pass over the whole would; a head of one level says what to change."""
    embs = {"datasets": ["raw"], "data_file": [str(tmp_path / "data.zarr")], "levels": 2}
    seg = {"levels": 2, "sparse_target": "foreground"}
    experiment, params = tiny_experiment(tmp_path, dims, "sparse_sh", save_embs=embs, **seg)
    params = changed(params, "contrastive", levels=2)
    train_contrastive(params, experiment, 0)
    (path,) = validate.embed(params, experiment, 0, [10], RunOptions())
    stored = zarr.open_group(str(path))["embeddings"]
    assert stored.shape == (24, 40, 40, 40)
    checkpoint = experiment.contrastive(0).checkpoint(10)  # bfloat16 where the processor has it, as `embed` chooses
    predictor = load_predictor(checkpoint, "embeddings", device="cpu", precision="auto", levels=2)
    begin = [-(-c // step) * step for c, step in zip(predictor.context, predictor.stride, strict=True)]
    output = predictor.fit_output([40 - 2 * b for b in begin])
    sides = list(zip(begin, output, predictor.context, strict=True))
    raw = zarr.open_group(str(tmp_path / "data.zarr"))["raw"][:]
    found = predictor(raw[tuple(slice(b - c, b + n + c) for b, n, c in sides)])
    wanted = stored[(slice(None), *(slice(b, b + n) for b, n, _ in sides))]
    np.testing.assert_allclose(found, wanted, rtol=2e-2, atol=2e-2)
    assert train_seg(params, experiment, 0, [10])
    with pytest.raises(BadInput, match=r"got 24, wanted 8; give save_embs as many levels"):
        train_seg(changed(params, "seg", levels=1), experiment, 0, [10])


@pytest.mark.parametrize("section", ["contrastive", "seg", "save_embs"])
def test_more_levels_than_there_are_are_refused(tmp_path, section):
    """A network that pools once has two, the bottom counted."""
    experiment, _ = tiny_experiment(tmp_path, 2)
    text = experiment.param_dict.read_text()
    if section == "save_embs":
        embs = '{"datasets": ["raw"], "data_file": ["d"], "levels": 3}'
        text = text.replace('"save_embs": null', f'"save_embs": {embs}')
    else:
        text = text.replace(f'"{section}": {{', f'"{section}": {{"levels": [3], ')
    experiment.param_dict.write_text(text)
    with pytest.raises(BadInput, match="levels is 3, but the network has 2"):
        load_params(experiment.param_dict)
